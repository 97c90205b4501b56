import type { FastifyRequest } from 'fastify'
import type { peopleRoutes } from '../../contract/index.ts'
import type { Services } from '../services/index.ts'
import type { Origin } from '../services/sign-in.ts'
import type { Handlers } from './handlers.ts'
import { ifMatch } from './headers.ts'

type PeopleRoute = keyof typeof peopleRoutes

/** Routes of people, teams, tokens and sharing. */
export function peopleHandlers({
  people,
  users,
  teams,
  tokens,
  sharing,
}: Services): Pick<Handlers, PeopleRoute> {
  return {
    'users.list': ({ actor, query }) => users.list(actor, query),
    'users.create': ({ actor, body }) => users.create(actor, body),
    'users.get': ({ actor, params, query }) => users.get(actor, params.user, query),
    'users.edit': ({ actor, params, body, request }) =>
      users.edit(actor, params.user, body, ifMatch(request)),
    'users.delete': ({ actor, params }) => users.delete(actor, params.user),
    'users.reset_password': ({ actor, params }) => users.resetPassword(actor, params.user),
    'me.set_password': ({ actor, body, credential, request }) =>
      people.changePassword(actor, body, credential?.token ?? '', originOf(request)),

    'teams.list': ({ actor, query }) => teams.list(actor, query),
    'teams.get': ({ actor, params, query }) => teams.get(actor, params.team, query),
    'teams.put': ({ actor, params, body, request }) => teams.put(actor, params.team, body, ifMatch(request)),
    'teams.delete': ({ actor, params }) => teams.delete(actor, params.team),
    'teams.set_member': ({ actor, params, body }) => teams.setMember(actor, params.team, params.user, body),
    'teams.remove_member': ({ actor, params }) => teams.removeMember(actor, params.team, params.user),

    'tokens.list': ({ actor, query }) => tokens.list(actor, query),
    'tokens.create': ({ actor, body, request }) => tokens.create(actor, body, request.ip),
    'tokens.delete': ({ actor, params }) => tokens.delete(actor, params.token),

    'experiments.share': ({ actor, params, body, request }) =>
      sharing.shareExperiment(actor, params.experiment, body, ifMatch(request)),
    'auth.can_i': ({ actor, body }) => people.mayI(actor, body.action, body.object),
  }
}

/** From where a request comes, and what sent it. */
export const originOf = ({ ip, headers }: FastifyRequest): Origin => ({
  address: ip,
  program: headers['user-agent'],
})
