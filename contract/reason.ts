import { z } from 'zod'

/** Why something is in the state it is in: a stable code and a sentence. */
export const Reason = z.object({ code: z.string(), message: z.string() }).meta({ id: 'Reason' })
export type Reason = z.infer<typeof Reason>
