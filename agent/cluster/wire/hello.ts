import type { Duplex } from 'node:stream'
import { z } from 'zod'
import { frame, FrameParser } from '../../../raft/index.ts'

/**
 * The first frame each way. Versions meet here: the newest that both sides speak is spoken, and where there is none, a
 * rolling upgrade fails loudly.
 */
export interface Hello {
  /** The newest and the oldest version that the speaker speaks; it need not name the oldest where both are one. */
  readonly protocol: number
  readonly since?: number | undefined
  readonly cluster: string
  readonly member: number
  /** HOST:PORT under which the speaker is reached now. */
  readonly address: string
}

export const protocols = { protocol: 1, since: 1 } as const
const maxFrame = 4096
const Hello = z.object({
  protocol: z.int(),
  since: z.int().optional(),
  cluster: z.string(),
  member: z.int(),
  address: z.string().max(300),
})
const Answer = z.union([Hello, z.object({ refused: z.string() })])

/** Say hello to an agent just dialled, and hear its answer. Throws with the reason when it or we refuse. */
export async function greet(socket: Duplex, own: Hello, member: number, timeoutMs: number): Promise<Hello> {
  socket.write(encode(own))
  const answer = Answer.parse(await readFrame(socket, timeoutMs))
  if ('refused' in answer) throw new Error(`refused by the other side: ${answer.refused}`)
  const wrong = mismatch(answer, own, member)
  if (wrong) throw new Error(`refused, ${wrong}`)
  return answer
}

/** Hear the hello of an agent that dialled us, and answer it. Throws with the reason after telling the other side. */
export async function answerHello(
  socket: Duplex,
  own: Hello,
  member: number,
  timeoutMs: number,
): Promise<Hello> {
  const parsed = Hello.safeParse(await readFrame(socket, timeoutMs))
  const wrong = parsed.success ? mismatch(parsed.data, own, member) : 'its hello is not understood'
  if (wrong || !parsed.success) {
    socket.end(encode({ refused: String(wrong) }))
    throw new Error(`refused, ${wrong}`)
  }
  socket.write(encode(own))
  return parsed.data
}

function mismatch(theirs: Hello, own: Hello, member: number): string | undefined {
  const spoken = Math.min(theirs.protocol, own.protocol)
  if (spoken < oldest(theirs) || spoken < oldest(own))
    return `one side speaks protocol ${theirs.protocol}, the other ${own.protocol}: upgrade the older agent`
  if (theirs.cluster !== own.cluster) return `cluster ${theirs.cluster} is not cluster ${own.cluster}`
  if (theirs.member !== member) return `it says member ${theirs.member}, its certificate ${member}`
  return undefined
}

const oldest = ({ protocol, since = protocol }: Hello): number => since

function encode(value: object): Buffer {
  const text = Buffer.from(JSON.stringify(value))
  return frame(text.length, (w) => w.raw(text))
}

/** One frame, and not a byte more: what follows stays in the stream for its next reader. */
function readFrame(socket: Duplex, timeoutMs: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      clearTimeout(timer)
      socket.off('readable', read).off('close', closed).off('error', failed)
      act()
    }
    const failed = (error: unknown) =>
      settle(() => reject(error instanceof Error ? error : new Error(String(error))))
    const closed = () => failed(new Error('closed before it said hello'))
    const timer = setTimeout(() => failed(new Error(`no hello within ${timeoutMs} ms`)), timeoutMs)
    let bytes = Buffer.alloc(0)
    const read = () => {
      try {
        // Kept here, not put back, until it is whole: what is put back is readable again at once.
        bytes = Buffer.concat([bytes, (socket.read() as Buffer | null) ?? Buffer.alloc(0)])
        const length = lengthOf(bytes)
        if (bytes.length < length) return
        const [payload] = new FrameParser(maxFrame).push(bytes.subarray(0, length))
        const value = JSON.parse(String(payload)) as unknown
        settle(() => {
          if (bytes.length > length) socket.unshift(bytes.subarray(length))
          resolve(value)
        })
      } catch (error) {
        failed(error)
      }
    }
    socket.on('readable', read).on('close', closed).on('error', failed)
    read()
  })
}

function lengthOf(bytes: Buffer): number {
  if (bytes.length < 8) return 8
  const length = 8 + bytes.readUInt32LE(0)
  if (length > maxFrame) throw new Error('its hello is too long')
  return length
}
