import { buffer } from 'node:stream/consumers'
import { ProblemError } from '../../../contract/index.ts'
import { blobsOf, hexOf, imageFor } from '../../cluster/images.ts'
import type { ImageRow, State } from '../../cluster/state.ts'
import type { Incoming } from '../../store/incoming.ts'
import type { Blobs } from '../../store/store.ts'
import type { Shelf } from './registry.ts'

/** The imported images, whose blobs are here or on their holders. */
export function clusterShelf(
  state: () => State,
  blobs: Pick<Blobs, 'open'>,
  incoming: Pick<Incoming, 'read'>,
): Shelf {
  return {
    async manifest(_repository, reference) {
      const row = need(state(), reference)
      const found = [row, ...row.manifests].find(({ digest }) => digest === reference) ?? row
      const { body } = await blobs.open(hexOf(found.digest), row.holders)
      return { digest: found.digest, media_type: found.media_type, body: await buffer(body) }
    },
    async blob(_repository, digest, range) {
      const found = find(state(), digest)
      if (!found) throw new ProblemError('not_found', `no imported image has the blob ${digest}`)
      return incoming.read(hexOf(digest), found.bytes, found.holders, range)
    },
  }
}

function need(state: State, reference: string): ImageRow {
  const row = imageFor(state, reference)
  if (!row) throw new ProblemError('not_found', `the cluster keeps no image ${reference}`)
  return row
}

/** A blob of any image and where it is; undefined when none has it: other uploads are nobody's images. */
function find(state: State, digest: string): { bytes: number; holders: string[] } | undefined {
  const rows = [...state.images.values()].filter((row) => blobsOf(row).some((blob) => blob.digest === digest))
  const blob = rows.flatMap(blobsOf).find((one) => one.digest === digest)
  return blob && { bytes: blob.bytes, holders: [...new Set(rows.flatMap(({ holders }) => holders))] }
}
