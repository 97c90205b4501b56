import type { Readable } from 'node:stream'
import { ProblemError } from '../../contract/index.ts'

const longest = 64 * 1024

/** Lines of a stream in flat memory, each with the byte offset after it. */
export async function* linesOf(body: Readable): AsyncGenerator<{ text: string; next: number }> {
  let rest: Buffer = Buffer.alloc(0)
  let offset = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    const all = rest.length ? Buffer.concat([rest, chunk]) : chunk
    let begin = 0
    for (let end = all.indexOf(10); end >= 0; end = all.indexOf(10, begin)) {
      offset += end + 1 - begin
      yield { text: all.toString('utf8', begin, end), next: offset }
      begin = end + 1
    }
    rest = all.subarray(begin)
    if (rest.length > longest) throw new ProblemError('internal', 'a manifest is damaged')
  }
  if (rest.length) yield { text: rest.toString('utf8'), next: offset + rest.length }
}
