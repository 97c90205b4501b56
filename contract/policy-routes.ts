import { z } from 'zod'
import { ContainerPolicy } from './policy.ts'
import { consistency, type Route } from './route.ts'

export const policyRoutes = {
  'policy.get': { method: 'GET', path: '/policy', summary: 'What containers may have of their host, and whose', access: 'policy:read', query: z.object(consistency), status: 200, reply: ContainerPolicy, problems: [] },
  'policy.set': { method: 'PUT', path: '/policy', summary: 'Say what containers may have of their host; what is left out is allowed to nobody', access: 'policy:admin', body: ContainerPolicy, status: 200, reply: ContainerPolicy, problems: ['outcome_unknown'] },
} as const satisfies Record<string, Route> // prettier-ignore
