import { type LdapSettings, type OidcSettings, ProblemError, type ProviderCheck, type ProviderCheckInput } from '../../../contract/index.ts' // prettier-ignore
import { membership } from '../../cluster/rules/identity.ts'
import type { IdentityProviderRow, State } from '../../cluster/state.ts'
import { checkPassword, lookUp, tryServer } from './ldap.ts'
import type { OidcClients } from './oidc.ts'
import { clip, type Person } from './person.ts'

type Step = ProviderCheck['steps'][number]
type Found = Omit<ProviderCheck, 'redirect_uris'>

interface Checked {
  readonly row: IdentityProviderRow
  readonly secret: string | null
  readonly state: State
  readonly clients: OidcClients
}

/** Goes the way of a sign-in step by step, so that an admin sees which one does not hold. */
export async function checkProvider(checked: Checked, input: ProviderCheckInput): Promise<Found> {
  const { settings } = checked.row
  if (settings.kind === 'ldap') return checkDirectory(checked, settings, input)
  const steps = await checkIssuer(checked, settings)
  return { ok: steps.every(({ ok }) => ok), steps, person: null }
}

async function checkDirectory(
  { row, secret, state }: Checked,
  settings: LdapSettings,
  { user, password }: ProviderCheckInput,
): Promise<Found> {
  const access = { settings, secret }
  const steps: Step[] = []
  for (const url of settings.urls)
    steps.push(await step(url, () => tryServer(access, url).then(() => 'it answers, and takes our account')))
  let person: Person | undefined
  if (user !== undefined)
    steps.push(
      await step(`look up ${user}`, async () => {
        person = await lookUp(access, user)
        if (!person) throw new Error('the directory knows nobody by that name below user_base')
        return `known as ${person.name}, in ${person.groups.length} groups`
      }),
    )
  if (person && user !== undefined && password !== undefined)
    steps.push(
      await step('the password', async () => {
        if (!(await checkPassword(access, user, password))) throw new Error('the directory says that it is wrong')
        return 'it is right'
      }),
    )
  return { ok: steps.every(({ ok }) => ok), steps, person: person ? asWhom(row, state, person) : null }
} // prettier-ignore

function checkIssuer({ row, secret, clients }: Checked, settings: OidcSettings): Promise<Step[]> {
  clients.forget(row.name)
  const access = { name: row.name, version: row.resource_version, settings, secret }
  const asked = step(settings.issuer, async () => {
    const about = (await clients.configuration(access)).serverMetadata()
    const lacks = [
      ...(about.device_authorization_endpoint ? [] : ['sign-in for the command line']),
      ...(about.end_session_endpoint ? [] : ['signing out there']),
    ]
    return lacks.length ? `it answers; it has no ${lacks.join(' and no ')}` : 'it answers'
  })
  return asked.then((one) => [one])
}

async function step(what: string, work: () => Promise<string>): Promise<Step> {
  try {
    return { what, ok: true, message: await work() }
  } catch (error) {
    return { what, ok: false, message: told(error) }
  }
}

/** To admins alone: what is behind it, too. */
function told(error: unknown): string {
  if (!(error instanceof Error)) return clip(String(error))
  const cause =
    error instanceof ProblemError && error.cause instanceof Error ? `: ${error.cause.message}` : ''
  return clip(error.message + cause)
}

function asWhom(row: IdentityProviderRow, state: State, { name, groups }: Person): Found['person'] {
  const isIn = membership(row, groups)
  const teams = [...state.teams.values()].filter((team) => isIn(team.groups)).map((team) => team.name)
  const isAdmin = isIn(row.settings.admin_groups)
  const rank = isAdmin ? 'admin' : (state.users.get(name)?.rank ?? row.settings.rank)
  return { name, groups: [...groups], teams, rank }
}
