import { z } from 'zod'
import { consistency, type Route } from './route.ts'
import { Explanation } from './scheduling.ts'

/** What the planner says of waiting work. */
export const planRoutes = {
  'experiments.explanation': {
    method: 'GET', path: '/experiments/{experiment}/explanation', summary: 'Why it waits, who is ahead, who holds what, when it will start and what would help',
    access: 'experiment:read', query: z.object(consistency), status: 200, reply: Explanation, problems: ['not_found'],
  },
} as const satisfies Record<string, Route> // prettier-ignore
