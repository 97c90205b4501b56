import { z } from 'zod'
import { isScope, levels, ranks, teamRanks, visibilities } from './permission.ts'
import { line, Name, ResourceVersion, text, Time } from './text.ts'

const Rank = z
  .enum(ranks)
  .describe('admin: of the cluster. viewer: reads what is shared with them, and makes nothing.')
const TeamRank = z.enum(teamRanks)
/** Where a person's password is checked: here, or by an identity provider of that name. */
const Source = z.string().describe('local, or the name of the identity provider.')
const Password = z
  .string({ error: 'expected a password' })
  .min(10, 'expected at least 10 characters')
  .max(1024, 'expected at most 1024 characters')

export const User = z
  .object({
    name: Name,
    rank: Rank,
    display_name: z.string().optional(),
    email: z.string().optional(),
    source: Source.optional(),
    disabled: z.boolean().optional(),
    must_change: z.boolean().optional().describe('The password is a one-time one.'),
    uid: z.int().optional().describe('User and group id of their containers.'),
    teams: z.array(z.object({ team: Name, rank: TeamRank })).optional(),
    created_at: Time,
    last_sign_in: Time.nullable().optional(),
    resource_version: ResourceVersion.optional(),
  })
  .meta({ id: 'User' })
export type User = z.infer<typeof User>

const profile = { display_name: line(200).optional(), email: line(254).optional() }
const Uid = z.int().min(1000, 'expected a user id from 1000').max(2_147_483_646)
export const UserInput = z
  .strictObject({
    name: Name,
    rank: Rank.default('member'),
    password: Password.optional().describe('Default: a one-time password, answered once.'),
    source: line(63)
      .default('local')
      .describe('local, or an identity provider, which checks the password then.'),
    uid: Uid.optional().describe('Default: the next one that is free.'),
    ...profile,
  })
  .meta({ id: 'UserInput' })
export type UserInput = z.infer<typeof UserInput>

export const UserPatch = z
  .strictObject({ rank: Rank.optional(), disabled: z.boolean().optional(), uid: Uid.optional(), ...profile })
  .meta({ id: 'UserPatch' })
export type UserPatch = z.infer<typeof UserPatch>

export const MadeUser = User.extend({
  one_time_password: z
    .string()
    .nullable()
    .describe('Shown this once; it is to be changed at the first sign-in.'),
}).meta({ id: 'MadeUser' })
export type MadeUser = z.infer<typeof MadeUser>

export const PasswordChange = z
  .strictObject({ old: z.string().max(1024), new: Password })
  .meta({ id: 'PasswordChange' })
export type PasswordChange = z.infer<typeof PasswordChange>

export const Team = z
  .object({
    name: Name,
    description: z.string(),
    members: z.array(z.object({ user: Name, rank: TeamRank })),
    groups: z.array(z.string()).describe('Groups of identity providers whose people are members.'),
    created_at: Time,
    resource_version: ResourceVersion,
  })
  .meta({ id: 'Team' })
export type Team = z.infer<typeof Team>

export const TeamInput = z
  .strictObject({
    description: text(2000).optional(),
    groups: z.array(line(500).min(1)).max(64).optional(),
  })
  .meta({ id: 'TeamInput' })
export type TeamInput = z.infer<typeof TeamInput>

export const MembershipInput = z
  .strictObject({ rank: TeamRank.default('member') })
  .meta({ id: 'MembershipInput' })
export type MembershipInput = z.infer<typeof MembershipInput>

const Scope = line(80).refine(
  isScope,
  'expected a scope such as *, experiment:*, *:read or experiment:create',
)
export const TokenInput = z
  .strictObject({
    name: line(100).min(1),
    scopes: z.array(Scope).min(1).max(32).default(['*']),
    days: z.int().min(1).max(3660).default(90).describe('Until it expires.'),
  })
  .meta({ id: 'TokenInput' })
export type TokenInput = z.infer<typeof TokenInput>

/** A sign-in or an API token; what it is called by, never what it is. */
export const Token = z
  .object({
    id: z.string(),
    kind: z.enum(['sign-in', 'api', 'monitoring']),
    user: Name,
    name: z.string().describe('Of a sign-in: the program it was made with.'),
    scopes: z.array(z.string()),
    created_at: Time,
    expires_at: Time,
    last_used_at: Time.nullable().describe('To about an hour.'),
    address: z.string().nullable().describe('From where it was made.'),
    current: z.boolean().describe('The one that this request came with.'),
  })
  .meta({ id: 'Token' })
export type Token = z.infer<typeof Token>

export const MadeToken = Token.extend({ token: z.string().describe('Shown this once.') }).meta({
  id: 'MadeToken',
})
export type MadeToken = z.infer<typeof MadeToken>

/** Who besides the owner may do something with an object, and what. */
export const Sharing = z
  .strictObject({
    visibility: z.enum(visibilities),
    shares: z
      .array(
        z.strictObject({
          with: z
            .string()
            .regex(/^(user|team):[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'expected user:NAME or team:NAME'),
          level: z.enum(levels),
        }),
      )
      .max(100)
      .default([]),
  })
  .meta({ id: 'Sharing' })
export type Sharing = z.infer<typeof Sharing>
