import { Agent, request } from 'node:https'
import type { Client, Done } from '../load/client.ts'
import type { Address } from '../raft/transport.ts'

/** Where an agent's write goes: an experiment whose description changes with each. */
export interface AgentAccess {
  readonly token: string
  readonly experiment: string
}

/** The cheapest write that the API has, over one kept HTTPS connection: an experiment's description. */
export function connectToAgent(address: Address, access: AgentAccess): Client {
  // The bench made this cluster a moment ago on this machine; whose certificate it is makes no difference to the cost.
  const agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false })
  const call = (method: string, body: string | undefined, done: Done) => {
    const sent = request({
      agent,
      ...address,
      method,
      path: `/api/v2/experiments/${access.experiment}`,
      headers: {
        authorization: `Bearer ${access.token}`,
        ...(body !== undefined && { 'content-type': 'application/json', 'content-length': body.length }),
      },
    })
    sent.on('error', (e) => done(e.message))
    sent.on('response', (response) => {
      response.resume()
      response.on('end', () =>
        done(response.statusCode === 200 ? undefined : `status ${response.statusCode}`),
      )
    })
    sent.end(body)
  }
  return {
    write: (key, value, done) =>
      call('PATCH', JSON.stringify({ description: `${key} ${value.toString('latin1')}` }), done),
    read: (_key, done) => call('GET', undefined, done),
    close: () => agent.destroy(),
  }
}
