import { z } from 'zod'
import { KerberosSettings } from './kerberos.ts'
import { consistency, type Route } from './route.ts'

export const kerberosRoutes = {
  'kerberos.get': { method: 'GET', path: '/kerberos', summary: 'Kerberos realms of which tasks may have tickets', access: 'kerberos:read', query: z.object(consistency), status: 200, reply: KerberosSettings, problems: [] },
  'kerberos.set': { method: 'PUT', path: '/kerberos', summary: 'Say which Kerberos realms there are, and which servers give their tickets', access: 'kerberos:admin', body: KerberosSettings, status: 200, reply: KerberosSettings, problems: ['outcome_unknown'] },
} as const satisfies Record<string, Route> // prettier-ignore
