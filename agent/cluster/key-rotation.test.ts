import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type Actor, LdapSettings, ProblemError } from '../../contract/index.ts'
import { type ClusterDouble, LogDouble } from '../services/testing/cluster-double.ts'
import { keyId, openEnvelope, sealEnvelope } from './identity/envelope.ts'
import { KeyRing } from './identity/key-ring.ts'
import { newClusterKey, newToken, seal } from './identity/seal.ts'
import { KeyHandover } from './key-handover.ts'
import { keepCurrent, KeyRotation } from './key-rotation.ts'
import { credentialsContext, providerContext, sealedIn, secretContext } from './sealed.ts'
import { theCluster } from './state.ts'

const system: Actor = { kind: 'system' }
const admin: Actor = { kind: 'user', name: 'admin', rank: 'admin' }
const old = newClusterKey()

interface Voter {
  readonly cluster: ClusterDouble
  readonly rotation: KeyRotation
  readonly handover: KeyHandover
  readonly keys: KeyRing
  /** What lies on its disk. */
  disk: readonly Buffer[]
}

let log: LogDouble
let voters: [Voter, Voter, Voter]
beforeEach(() => {
  log = new LogDouble()
  voters = ['node-1', 'node-2', 'node-3'].map(voter) as [Voter, Voter, Voter]
  log.propose(
    {
      type: 'cluster.create', id: 'c-1', name: 'lab', ca: 'PEM', sealed_ca_key: seal(old, 'the key of the CA', 'ca-key:c-1'),
      admin: { name: 'admin', password_hash: 'x' }, node: { name: 'host-1', address: '10.0.0.1:7460' },
    },
    system,
  ) // prettier-ignore
  for (const at of [2, 3]) {
    const { sha256: token_sha256 } = newToken()
    log.propose({ type: 'joinToken.create', sha256: token_sha256, expires_at: '2030-01-01T00:00:00.000Z' }, system)
    log.propose({ type: 'node.join', token_sha256, name: `host-${at}`, address: `10.0.0.${at}:7460` }, system)
  } // prettier-ignore
  putSecret('s3', 'hunter2')
  const sealed = seal(old, 'before there were envelopes', credentialsContext('registry.lab'))
  log.propose({ type: 'registry.put', host: 'registry.lab', user: 'u', ca: null, insecure: false, sealed }, admin)
  log.propose({ type: 'registry.put', host: 'open.lab', user: null, ca: null, insecure: false, sealed: null }, admin)
  const settings = LdapSettings.parse({ kind: 'ldap', urls: ['ldap://127.0.0.1:1'], user_base: 'dc=lab' })
  const bind = sealEnvelope(old, 'bind password', providerContext('ldap'))
  log.propose({ type: 'identityProvider.put', name: 'ldap', settings, sealed: bind }, admin)
}) // prettier-ignore
afterEach(() => log.close())

function voter(node: string): Voter {
  const cluster = log.agent(node)
  const made: { disk: readonly Buffer[] } = { disk: [old] }
  const inUse = () => log.state.cluster.get(theCluster)?.key
  const keys = new KeyRing([old], inUse, async (all) => void (made.disk = all))
  const handover = new KeyHandover(cluster, keys)
  keepCurrent(cluster, keys, { warn: (fields) => expect.fail(JSON.stringify(fields)) })
  const rotation = new KeyRotation({ cluster, keys, handover, alone: (work) => work() })
  return Object.assign(made, { cluster, keys, handover, rotation })
}

function putSecret(name: string, text: string, key = old, version = 1): void {
  const id = `admin/${name}`
  const sealed = sealEnvelope(key, text, secretContext(id, version))
  log.propose(
    { type: 'secret.put', id, owner: 'admin', name, team: null, kind: 'generic', description: '', version, bytes: text.length, sealed },
    admin,
  ) // prettier-ignore
}

const opened = (key: Buffer) =>
  [...sealedIn(log.state)].map(({ sealed, context }) => openEnvelope(key, sealed, context)).toSorted()
const secrets = ['before there were envelopes', 'bind password', 'hunter2', 'the key of the CA']

/** Every voter has one key, the same; everything opens by it and nothing by the old one. */
async function expectRotated(texts = secrets): Promise<void> {
  await vi.waitFor(() => expect(voters.map(({ disk }) => disk.length)).toEqual([1, 1, 1]))
  const [key] = voters[0].disk as [Buffer]
  expect(voters.map(({ disk }) => keyId(disk[0] as Buffer))).toEqual(Array(3).fill(keyId(key)))
  expect(key.equals(old)).toBe(false)
  expect(opened(key)).toEqual(texts)
  for (const { sealed, context } of sealedIn(log.state))
    expect(() => openEnvelope(old, sealed, context)).toThrow()
}

it('everything that the old key protected opens by the new one, which all voters have, and the old one is gone', async () => {
  const [before] = log.state.secrets.values()
  await voters[0].rotation.rotate(admin)
  await expectRotated()
  const [after] = log.state.secrets.values()
  // The data key is the same, so its body is too, and nothing else of the row has changed.
  expect(after?.sealed.split('~')[3]).toBe(before?.sealed.split('~')[3])
  expect({ ...after, sealed: '', resource_version: 0 }).toEqual({
    ...before,
    sealed: '',
    resource_version: 0,
  })
  expect(log.events.at(-1)).toMatchObject({ code: 'cluster.key_rotated', actor: 'user:admin' })
  expect(log.audit.at(-1)).toMatchObject({ action: 'clusterKey.rotate', decision: 'allowed' })
})

it('can be asked of any agent, and again and again', async () => {
  await voters[2].rotation.rotate(admin)
  const first = voters[1].keys.current()
  await voters[1].rotation.rotate(admin)
  await expectRotated()
  expect(voters[1].keys.current()?.equals(first ?? old)).toBe(false)
})

it('is refused while a voter is away, and changes nothing', async () => {
  voters[2].cluster.peers.unreachable = true
  const before = log.state
  await expect(voters[0].rotation.rotate(admin)).rejects.toMatchObject({
    code: 'node_unreachable',
    message: expect.stringContaining('host-3 is a voter') as string,
  })
  expect(log.state).toBe(before)
  expect(voters.map(({ keys }) => keys.current()?.equals(old))).toEqual([true, true, true])
  expect(opened(old)).toEqual(secrets)
  voters[2].cluster.peers.unreachable = false
  await voters[0].rotation.rotate(admin)
  await expectRotated()
})

it('a leader that dies between handing over and the command leaves all as it was; the next one does it again', async () => {
  const dies = vi.spyOn(voters[0].cluster, 'propose').mockRejectedValue(new ProblemError('outcome_unknown'))
  await expect(voters[0].rotation.rotate(admin)).rejects.toMatchObject({ code: 'outcome_unknown' })
  dies.mockRestore()
  expect(voters.map(({ disk }) => disk.length)).toEqual([2, 2, 2])
  expect(opened(voters[1].keys.current() as Buffer)).toEqual(secrets)
  log.setLeader('node-2')
  putSecret('git', 'in between')
  const left = voters[0].disk[1] as Buffer
  await voters[1].rotation.rotate(admin)
  await expectRotated([...secrets, 'in between'].toSorted())
  expect(voters[0].disk[0]?.equals(left)).toBe(false)
})

it('a secret that is set while the key is replaced is neither lost nor sealed by the old key', async () => {
  const [{ cluster, rotation }] = voters
  const propose = cluster.propose.bind(cluster)
  vi.spyOn(cluster, 'propose').mockImplementationOnce(async (command, actor) => {
    putSecret('s3', 'hunter3', old, 2)
    return propose(command, actor)
  })
  await rotation.rotate(admin)
  await expectRotated(secrets.map((text) => (text === 'hunter2' ? 'hunter3' : text)))
  expect(() => putSecret('late', 'x', old)).toThrow(/the cluster key was replaced meanwhile/)
  putSecret('late', 'x', voters[0].keys.current())
})

it('what cannot be opened stops it by its name, and keys come from the leader alone', async () => {
  const lost = newClusterKey()
  putSecret('lost', 'x', lost)
  await expect(voters[0].rotation.rotate(admin)).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('admin/lost cannot be opened') as string,
  })
  log.propose({ type: 'secret.delete', id: 'admin/lost' }, admin)
  await expect(voters[1].handover.give('node-3')).rejects.toMatchObject({ code: 'forbidden' })
  await voters[0].rotation.rotate(admin)
  await expectRotated()
})

it('a member without the key in use has none to seal by, whatever old ones it kept', () => {
  const key = newClusterKey()
  const keys = new KeyRing([old], () => keyId(key), async () => undefined)
  expect(keys.current()).toBeUndefined()
  expect(() => keys.open(sealEnvelope(key, 'x', 'registry:r'), 'registry:r')).toThrow(/no cluster key/)
}) // prettier-ignore
