import { buffer } from 'node:stream/consumers'
import { ProblemError } from '../../../contract/index.ts'
import { blobsOf, hexOf, imageFor } from '../../cluster/images.ts'
import type { ImageRow, State } from '../../cluster/state.ts'
import type { Blobs } from '../../store/store.ts'
import type { Shelf } from './registry.ts'

/** The imported images, whose blobs are here or on their holders. */
export function clusterShelf(state: () => State, blobs: Pick<Blobs, 'open'>): Shelf {
  return {
    async manifest(_repository, reference) {
      const row = need(state(), reference)
      const found = [row, ...row.manifests].find(({ digest }) => digest === reference) ?? row
      const { body } = await blobs.open(hexOf(found.digest), row.holders)
      return { digest: found.digest, media_type: found.media_type, body: await buffer(body) }
    },
    async blob(_repository, digest, range) {
      const holders = holdersOf(state(), digest)
      if (!holders) throw new ProblemError('not_found', `no imported image has the blob ${digest}`)
      return blobs.open(hexOf(digest), holders, range)
    },
  }
}

function need(state: State, reference: string): ImageRow {
  const row = imageFor(state, reference)
  if (!row) throw new ProblemError('not_found', `the cluster keeps no image ${reference}`)
  return row
}

/** Where a blob of any image is; undefined when none has it: other uploads are nobody's images. */
function holdersOf(state: State, digest: string): string[] | undefined {
  const rows = [...state.images.values()].filter((row) => blobsOf(row).some((blob) => blob.digest === digest))
  return rows.length === 0 ? undefined : [...new Set(rows.flatMap(({ holders }) => holders))]
}
