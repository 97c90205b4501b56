import { z } from 'zod'
import { MadeToken, MadeUser, MembershipInput, PasswordChange, Sharing, Team, TeamInput, Token, TokenInput, User, UserInput, UserPatch } from './people.ts' // prettier-ignore
import { actions } from './permission.ts'
import { consistency, page, pageOf, type Route } from './route.ts'

const list = z.object({ ...page, ...consistency })
const one = z.object(consistency)

/** What one can ask about beside an action: an object that is shared, or a team. */
export const askedKinds = ['experiment', 'team'] as const

export const peopleRoutes = {
  'users.list': { method: 'GET', path: '/users', summary: 'People, by name', access: 'user:read', query: list, status: 200, reply: pageOf(User), problems: [] },
  'users.create': { method: 'POST', path: '/users', summary: 'Give a person an account; without a password, with a one-time password', access: 'user:admin', body: UserInput, status: 201, reply: MadeUser, problems: ['already_exists', 'not_found', 'outcome_unknown'] },
  'users.get': { method: 'GET', path: '/users/{user}', summary: 'One person', access: 'user:read', query: one, status: 200, reply: User, problems: ['not_found'] },
  'users.edit': { method: 'PATCH', path: '/users/{user}', summary: 'Change rank, name, address, user id; disable or enable; with If-Match only as the caller saw it', access: 'user:admin', body: UserPatch, status: 200, reply: User, problems: ['not_found', 'already_exists', 'conflict', 'precondition_failed', 'outcome_unknown'] },
  'users.delete': { method: 'DELETE', path: '/users/{user}', summary: 'Remove a person with their tokens and memberships; their work stays', access: 'user:admin', status: 204, problems: ['not_found', 'conflict', 'outcome_unknown'] },
  'users.reset_password': { method: 'PUT', path: '/users/{user}/password', summary: 'Give a person a new one-time password; their sign-ins end', access: 'user:admin', status: 200, reply: z.object({ one_time_password: z.string().describe('Shown this once.') }), problems: ['not_found', 'conflict', 'outcome_unknown'] },
  'me.set_password': { method: 'PUT', path: '/me/password', summary: 'Choose another password; the other sign-ins end', access: 'self:read', body: PasswordChange, status: 204, problems: ['bad_credentials', 'rate_limited', 'conflict', 'outcome_unknown'] },

  'teams.list': { method: 'GET', path: '/teams', summary: 'Teams with their members, by name', access: 'team:read', query: list, status: 200, reply: pageOf(Team), problems: [] },
  'teams.get': { method: 'GET', path: '/teams/{team}', summary: 'One team', access: 'team:read', query: one, status: 200, reply: Team, problems: ['not_found'] },
  'teams.put': { method: 'PUT', path: '/teams/{team}', summary: 'Make a team (admins), or change what is given of one; with If-Match only as the caller saw it', access: 'team:edit', body: TeamInput, status: 200, reply: Team, problems: ['already_exists', 'precondition_failed', 'outcome_unknown'] },
  'teams.delete': { method: 'DELETE', path: '/teams/{team}', summary: 'Delete a team of which nothing runs or waits', access: 'team:admin', status: 204, problems: ['not_found', 'conflict', 'outcome_unknown'] },
  'teams.set_member': { method: 'PUT', path: '/teams/{team}/members/{user}', summary: 'Make somebody a member, or give a member another rank', access: 'team:edit', body: MembershipInput, status: 200, reply: Team, problems: ['not_found', 'conflict', 'outcome_unknown'] },
  'teams.remove_member': { method: 'DELETE', path: '/teams/{team}/members/{user}', summary: 'Take somebody out of a team; everybody may leave', access: 'team:read', status: 204, problems: ['not_found', 'outcome_unknown'] },

  'tokens.list': { method: 'GET', path: '/tokens', summary: 'Sign-ins and API tokens: own, or those of a person, or all with user=*', access: 'token:read', query: z.object({ ...page, user: z.string().max(63).optional().describe('Default: who asks.') }), status: 200, reply: pageOf(Token), problems: ['not_found'] },
  'tokens.create': { method: 'POST', path: '/tokens', summary: 'Make an API token of one’s own', access: 'token:create', body: TokenInput, status: 201, reply: MadeToken, problems: ['conflict', 'outcome_unknown'] },
  'tokens.delete': { method: 'DELETE', path: '/tokens/{token}', summary: 'End a token or a sign-in, by its id', access: 'token:delete', status: 204, problems: ['not_found', 'outcome_unknown'] },

  'experiments.share': { method: 'PUT', path: '/experiments/{experiment}/sharing', summary: 'Who besides the owner sees it, and what they may do; with If-Match only as the caller saw it', access: 'experiment:share', body: Sharing, status: 200, reply: Sharing, problems: ['not_found', 'precondition_failed', 'outcome_unknown'] },

  'auth.can_i': {
    method: 'POST', path: '/auth/can-i', summary: 'May I, with this object if one is given?', access: 'self:read',
    body: z.strictObject({ action: z.enum(actions), object: z.strictObject({ kind: z.enum(askedKinds), id: z.string().min(1).max(200) }).optional() }),
    status: 200, reply: z.object({ allowed: z.boolean() }), problems: [],
  },
} as const satisfies Record<string, Route> // prettier-ignore
