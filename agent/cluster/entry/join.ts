import { DiskStore, EMPTY_CONF, levelDisk } from '../../../raft/index.ts'
import { bundle, createKeyAndRequest } from '../identity/ca.ts'
import { checkUnused, initFolder } from '../identity/data-folder.ts'
import { requestJoin } from '../identity/join.ts'
import { AddressBook } from '../wire/address-book.ts'

/** Join a cluster with a one-use token: a certificate for this host, and an empty log that the leader will fill. */
export async function joinCluster(options: {
  data: string
  token: string
  name: string
  address: string
}): Promise<void> {
  const { data, token, name, address } = options
  // Before the token is spent.
  await checkUnused(data)
  const { key, request } = await createKeyAndRequest()
  const reply = await requestJoin(token, { name, address, request })
  const { cluster, member, node } = reply
  await initFolder(data, {
    identity: {
      cluster: cluster.id, cluster_name: cluster.name, member, node, name, created_at: new Date().toISOString(),
    },
    credentials: { ca: bundle(reply.ca, reply.former_ca ?? ''), cert: reply.certificate, key },
    prepare: async (folders) => {
      await (await DiskStore.create(levelDisk(folders.log), { id: member, clusterId: cluster.id, conf: EMPTY_CONF })).close()
      await AddressBook.seed(data, reply.peers)
    },
  }) // prettier-ignore
}
