import { text as textOf } from 'node:stream/consumers'
import { z } from 'zod'
import { ProblemError } from '../../contract/index.ts'
import type { Cluster } from './cluster.ts'
import { ask } from '../store/peer-io.ts'
import { sealEnvelope } from './identity/envelope.ts'
import type { KeyRing } from './identity/key-ring.ts'
import { seal as sealText } from './identity/seal.ts'
import { openForTask, type TaskSecret } from './secret-access.ts'

export { credentialsContext, providerContext } from './sealed.ts'

/** What a sign-in under way is bound to: it comes back through a browser, or a program, that may not read it. */
export const signInContext = (provider: string, kind: 'browser' | 'device'): string =>
  `sign-in:${kind}:${provider}`

const Asked = z.object({
  text: z.string().max(100_000),
  context: z.string().regex(/^(registry|identity-provider|sign-in|secret):/),
})

const AskedForTask = z.object({ task: z.string(), attempt: z.int(), id: z.string() })

/** A sign-in under way is short, and soon over: it needs no key of its own. */
const seal = (key: Uint8Array, text: string, context: string) =>
  (context.startsWith('sign-in:') ? sealText : sealEnvelope)(key, text, context)

/**
 * Seals and opens secrets by the cluster key, which only voters have: other members ask one of them over the mutual
 * TLS between agents. What can be asked for is limited to what nodes need for their work; the CA's key is not.
 */
export class Sealer {
  readonly #cluster: Pick<Cluster, 'self' | 'peers' | 'status' | 'state'>
  readonly #keys: Pick<KeyRing, 'current' | 'open'>

  constructor(
    cluster: Pick<Cluster, 'self' | 'peers' | 'status' | 'state'>,
    keys: Pick<KeyRing, 'current' | 'open'>,
  ) {
    this.#cluster = cluster
    this.#keys = keys
    cluster.peers.serve('/secrets/task', async (from, request, response) => {
      const asked = AskedForTask.safeParse(JSON.parse(await textOf(request)))
      if (!asked.success) throw new ProblemError('invalid_request', z.prettifyError(asked.error))
      if (!keys.current()) throw new ProblemError('no_leader', 'this agent has no cluster key')
      response.end(openForTask(cluster.state(), from, asked.data, keys))
    })
    for (const what of ['seal', 'open'] as const)
      cluster.peers.serve(`/secrets/${what}`, async (_from, request, response) => {
        const asked = Asked.safeParse(JSON.parse(await textOf(request)))
        const mine = keys.current()
        if (!asked.success) throw new ProblemError('invalid_request', z.prettifyError(asked.error))
        if (!mine) throw new ProblemError('no_leader', 'this agent has no cluster key')
        // A task's secret is asked for by its task.
        if (what === 'open' && asked.data.context.startsWith('secret:')) throw new ProblemError('forbidden')
        const { text, context } = asked.data
        response.end(what === 'seal' ? seal(mine, text, context) : keys.open(text, context))
      })
  }

  seal(text: string, context: string): Promise<string> {
    return this.#here('seal', text, context)
  }

  open(sealed: string, context: string): Promise<string> {
    return this.#here('open', sealed, context)
  }

  async #here(what: 'seal' | 'open', text: string, context: string): Promise<string> {
    const key = this.#keys.current()
    if (key) return what === 'seal' ? seal(key, text, context) : this.#keys.open(text, context)
    return this.#byVoter(`/secrets/${what}`, { text, context })
  }

  /** A secret of a task of this node, in base64. */
  async forTask(asked: TaskSecret): Promise<string> {
    if (this.#keys.current())
      return openForTask(this.#cluster.state(), this.#cluster.self.node, asked, this.#keys)
    return this.#byVoter('/secrets/task', asked)
  }

  async #byVoter(path: string, asked: object): Promise<string> {
    let last: unknown
    for (const node of this.#voters()) {
      try {
        const answer = await ask(this.#cluster.peers, node, {
          method: 'POST',
          path,
          body: JSON.stringify(asked),
        })
        return await textOf(answer.body)
      } catch (error) {
        last = error
      }
    }
    if (last instanceof ProblemError && last.code === 'forbidden') throw last
    throw new ProblemError('node_unreachable', 'no voter that holds the cluster key answered', {
      cause: last,
    })
  }

  /** The leader first: it surely has the key. */
  #voters(): string[] {
    const { leader, voters } = this.#cluster.status()
    const { nodes } = this.#cluster.state()
    const ids = [...nodes.values()].filter(({ member }) => voters.includes(member)).map(({ id }) => id)
    return [...new Set([...(leader ? [leader] : []), ...ids])].filter((id) => id !== this.#cluster.self.node)
  }
}
