import { z } from 'zod'
import { Node } from './nodes.ts'
import type { Route } from './route.ts'
import { line, Name } from './text.ts'

/** How many labels a node may carry. */
export const mostLabels = 64
const LabelKey = z
  .string()
  .regex(/^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/, 'expected letters, digits and ._/- such as zone')
const reason = line(500).default('').describe('For the people who wonder.')
const grace = z
  .int()
  .min(0)
  .max(3600)
  .optional()
  .describe('From SIGTERM to SIGKILL for what is not done by then; absent: each task’s own.')

export const NodePatch = z
  .strictObject({ name: Name.optional(), labels: z.record(LabelKey, line(250).nullable()).optional() })
  .meta({ id: 'NodePatch' })
export type NodePatch = z.infer<typeof NodePatch>

export const CordonRequest = z.strictObject({ reason }).meta({ id: 'CordonRequest' })
export type CordonRequest = z.infer<typeof CordonRequest>

export const DrainRequest = z
  .strictObject({
    reason,
    deadline_seconds: z
      .int()
      .min(0)
      .max(30 * 86400)
      .default(0)
      .describe('So long what runs may go on; 0: it is asked to leave at once.'),
    grace_seconds: grace,
    power_off: z.boolean().default(false).describe('Its vote and leadership are handed to others.'),
  })
  .meta({ id: 'DrainRequest' })
export type DrainRequest = z.infer<typeof DrainRequest>

export const RebootNotice = DrainRequest.omit({ power_off: true }).meta({ id: 'RebootNotice' })
export type RebootNotice = z.infer<typeof RebootNotice>

export const nodeRoutes = {
  'nodes.edit': { method: 'PATCH', path: '/nodes/{node}', summary: 'Rename it, change its labels (RFC 7396)', access: 'node:admin', body: NodePatch, status: 200, reply: Node, problems: ['not_found', 'already_exists', 'outcome_unknown'] },
  'nodes.cordon': { method: 'POST', path: '/nodes/{node}/cordon', summary: 'It takes nothing new; what runs goes on', access: 'node:admin', body: CordonRequest, status: 200, reply: Node, problems: ['not_found', 'outcome_unknown'] },
  'nodes.uncordon': { method: 'POST', path: '/nodes/{node}/uncordon', summary: 'It takes new work again', access: 'node:admin', status: 200, reply: Node, problems: ['not_found', 'outcome_unknown'] },
  'nodes.drain': { method: 'POST', path: '/nodes/{node}/drain', summary: 'Empty it: what is not done by the deadline is stopped and waits for another place', access: 'node:admin', body: DrainRequest, status: 200, reply: Node, problems: ['not_found', 'outcome_unknown'] },
  'nodes.reboot_notice': { method: 'POST', path: '/nodes/{node}/reboot-notice', summary: 'It will be restarted: drained until then, in use again when it is back', access: 'node:admin', body: RebootNotice, status: 200, reply: Node, problems: ['not_found', 'outcome_unknown'] },
  'nodes.confirm_down': { method: 'POST', path: '/nodes/{node}/confirm-down', summary: 'Vouch that a silent host does not run: what is on hold there is released', access: 'node:admin', status: 200, reply: Node, problems: ['not_found', 'conflict', 'outcome_unknown'] },
} as const satisfies Record<string, Route> // prettier-ignore
