import { z } from 'zod'
import { DeviceSignIn, IdentityProvider, ProviderCheck, ProviderCheckInput, ProviderInput, SignInWay } from './identity.ts' // prettier-ignore
import { SignedIn } from './objects.ts'
import { consistency, page, pageOf, type Route } from './route.ts'

export const identityRoutes = {
  'identityProviders.public': { method: 'GET', path: '/identity-providers/public', summary: 'How one can sign in besides passwords kept here', access: 'public', status: 200, reply: z.object({ items: z.array(SignInWay) }), problems: [] },
  'identityProviders.list': { method: 'GET', path: '/identity-providers', summary: 'Directories and identity providers that people sign in by', access: 'cluster:admin', query: z.object({ ...page, ...consistency }), status: 200, reply: pageOf(IdentityProvider), problems: [] },
  'identityProviders.get': { method: 'GET', path: '/identity-providers/{provider}', summary: 'One of them, without its secret', access: 'cluster:admin', query: z.object(consistency), status: 200, reply: IdentityProvider, problems: ['not_found'] },
  'identityProviders.put': { method: 'PUT', path: '/identity-providers/{provider}', summary: 'Add an identity provider, or change all that is told of it', access: 'cluster:admin', body: ProviderInput, status: 200, reply: IdentityProvider, problems: ['node_unreachable', 'precondition_failed', 'conflict', 'outcome_unknown'] },
  'identityProviders.delete': { method: 'DELETE', path: '/identity-providers/{provider}', summary: 'Forget it; its people cannot sign in any more, and their sign-ins end', access: 'cluster:admin', status: 204, problems: ['not_found', 'outcome_unknown'] },
  'identityProviders.check': { method: 'POST', path: '/identity-providers/{provider}/check', summary: 'Does it answer, and what does it say of somebody?', access: 'cluster:admin', body: ProviderCheckInput, status: 200, reply: ProviderCheck, problems: ['not_found', 'node_unreachable'] },

  'signIn.begin': { method: 'GET', path: '/sign-in/{provider}', summary: 'To the pages of an OpenID Connect provider (for browsers)', access: 'public', status: 302, problems: ['not_found', 'rate_limited'] },
  'signIn.end': { method: 'GET', path: '/sign-in/{provider}/end', summary: 'Sign out there, too (for browsers)', access: 'public', status: 302, problems: ['not_found', 'rate_limited'] },
  'signIn.callback': {
    method: 'GET', path: '/sign-in/{provider}/callback', summary: 'Where the provider sends browsers back to; sets the cookie of the sign-in', access: 'public',
    query: z.looseObject({ code: z.string().max(4000).optional(), state: z.string().max(500).optional(), error: z.string().max(200).optional() }),
    status: 302, problems: ['not_found', 'rate_limited'],
  },
  'signIn.device': { method: 'POST', path: '/sign-in/{provider}/device', summary: 'Begin a sign-in that is confirmed in a browser anywhere', access: 'public', status: 201, reply: DeviceSignIn, problems: ['not_found', 'unsupported', 'rate_limited', 'provider_unreachable', 'provider_failed'] },
  'signIn.poll': {
    method: 'POST', path: '/sign-in/{provider}/device/poll', summary: 'Was it confirmed? Answers who is signed in, or null as long as it was not', access: 'public',
    body: z.strictObject({ handle: z.string().min(1).max(10_000) }), status: 200,
    reply: z.object({ signed_in: SignedIn.nullable(), interval: z.int().describe('Ask again after so many seconds.') }),
    problems: ['not_found', 'bad_credentials', 'forbidden', 'conflict', 'rate_limited', 'provider_unreachable', 'provider_failed', 'outcome_unknown'],
  },
} as const satisfies Record<string, Route> // prettier-ignore
