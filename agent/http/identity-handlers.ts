import type { FastifyReply } from 'fastify'
import { type identityRoutes, ProblemError, type SignedIn } from '../../contract/index.ts'
import type { Begun } from '../services/browser-sign-in.ts'
import type { Services } from '../services/index.ts'
import type { Call, Handlers } from './handlers.ts'
import { ifMatch } from './headers.ts'
import { originOf } from './people-handlers.ts'
import { sessionCookie, signInCookie, signInEnded, signInKept, signInProblem } from './session.ts'

type BrowserCall = Pick<Call<'signIn.begin'>, 'request' | 'reply' | 'encrypted'>

/** Identity providers, and sign-in by them. */
export function identityHandlers({
  identityProviders,
  browserSignIn,
  cluster,
}: Services): Pick<Handlers, keyof typeof identityRoutes> {
  return {
    'identityProviders.public': () => identityProviders.ways(),
    'identityProviders.list': ({ actor, query }) => identityProviders.list(actor, query),
    'identityProviders.get': ({ actor, params, query }) =>
      identityProviders.get(actor, params.provider, query),
    'identityProviders.put': ({ actor, params, body, request }) =>
      identityProviders.put(actor, params.provider, body, ifMatch(request)),
    'identityProviders.delete': ({ actor, params }) => identityProviders.delete(actor, params.provider),
    'identityProviders.check': (call) => {
      const others = cluster.addresses().map((address) => `https://${address}`)
      const origins = [ownOrigin(call), ...others]
      return identityProviders.check(call.actor, call.params.provider, call.body, origins)
    },

    'signIn.begin': (call) =>
      forBrowsers(call, async () => {
        const begun = await browserSignIn.begin(call.params.provider, ownOrigin(call), originOf(call.request))
        sendThere(call, begun)
      }),
    'signIn.callback': (call) =>
      forBrowsers(call, async () => {
        const { request, reply, encrypted } = call
        const back = { kept: signInKept(request) ?? '', returned: queryOf(request.url) }
        const done = await browserSignIn.finish(call.params.provider, back, originOf(request))
        if (isBegun(done)) return sendThere(call, done)
        setCookies(reply, sessionCookie(done.token, done.expires_at, encrypted), signInEnded(encrypted))
        reply.header('location', '/')
      }),
    'signIn.end': (call) =>
      forBrowsers(call, async () => {
        const { request, reply } = call
        const to = await browserSignIn.end(call.params.provider, ownOrigin(call), originOf(request))
        reply.header('location', to ?? '/')
      }),
    'signIn.device': ({ params, request }) => browserSignIn.beginDevice(params.provider, originOf(request)),
    'signIn.poll': ({ params, body, request }) =>
      browserSignIn.poll(params.provider, body.handle, originOf(request)),
  }
}

const isBegun = (done: SignedIn | Begun): done is Begun => 'location' in done

function sendThere({ reply, encrypted }: BrowserCall, { location, kept }: Begun): void {
  setCookies(reply, signInCookie(kept, encrypted))
  reply.header('location', location)
}

/** Whoever is on the way sees the console's own page in the end, with what went wrong; never bare JSON. */
async function forBrowsers({ reply, request, encrypted }: BrowserCall, work: () => Promise<void>) {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error
    request.log.warn({ err: error, request: request.id }, 'a sign-in by an identity provider failed')
    setCookies(reply, signInProblem(error.toProblem(request.id), encrypted), signInEnded(encrypted))
    reply.header('location', '/')
  }
}

function setCookies(reply: FastifyReply, ...cookies: readonly string[]): void {
  reply.header('set-cookie', [...cookies])
}

/** The host is one that the guard has found to be ours. */
const ownOrigin = ({ request, encrypted }: Pick<BrowserCall, 'request' | 'encrypted'>): string =>
  `${encrypted ? 'https' : 'http'}://${request.headers.host ?? String(request.headers[':authority'] ?? '')}`

const queryOf = (url: string): string => (url.includes('?') ? url.slice(url.indexOf('?')) : '')
