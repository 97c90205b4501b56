import { hash } from 'node:crypto'
import { envelopeKey, type Rewrap, rewrapped } from './identity/envelope.ts'
import { type State, theCluster } from './state.ts'
import type { Transaction } from './transaction.ts'

/** What the sealed CA key is bound to, so that no other sealed text can stand in its place. */
export const caKeyContext = (cluster: string): string => `ca-key:${cluster}`

/** What a registry's sealed credentials are bound to. */
export const credentialsContext = (host: string): string => `registry:${host}`

/** What an identity provider's sealed secret is bound to. */
export const providerContext = (name: string): string => `identity-provider:${name}`

/** What a secret's sealed text is bound to: one of another id or version does not open in its place. */
export const secretContext = (id: string, version: number): string => `secret:${id}@${version}`

type SealedTables = Pick<State, 'cluster' | 'registries' | 'identityProviders' | 'secrets'>

/** Where a sealed text stands. */
export interface SealedPlace {
  readonly table: keyof SealedTables
  readonly id: string
}
export interface SealedText extends SealedPlace {
  readonly context: string
  readonly sealed: string
}

/** A text's new wrapping, for what stood there when it was made. */
export type Rewrapped = SealedPlace & Rewrap & { readonly from: string }

/** Every text of the state that the cluster key protects. What is missing here is lost with the next cluster key. */
export function* sealedIn(state: SealedTables): Generator<SealedText> {
  const own = state.cluster.get(theCluster)
  if (own)
    yield { table: 'cluster', id: theCluster, context: caKeyContext(own.id), sealed: own.sealed_ca_key }
  for (const { host, sealed } of state.registries.values())
    if (sealed !== null) yield { table: 'registries', id: host, context: credentialsContext(host), sealed }
  for (const { name, sealed } of state.identityProviders.values())
    if (sealed !== null)
      yield { table: 'identityProviders', id: name, context: providerContext(name), sealed }
  for (const { id, version, sealed } of state.secrets.values())
    yield { table: 'secrets', id, context: secretContext(id, version), sealed }
}

/** A sealed text by a digest: enough to see that it is another one. */
export const sealedDigest = (sealed: string): string => hash('sha256', sealed).slice(0, 32)

/** False when something else stands there by now. */
export function rewrapIn(tx: Transaction, key: string, made: Rewrapped): boolean {
  const { table, id } = made
  const before = textAt(tx.state, made)
  if (!before || sealedDigest(before) !== made.from) return false
  const sealed = rewrapped(before, key, made)
  if (table === 'cluster') tx.put(table, id, { ...tx.need(table, id, 'cluster'), sealed_ca_key: sealed })
  else if (table === 'registries') tx.put(table, id, { ...tx.need(table, id, 'registry'), sealed })
  else if (table === 'secrets') tx.put(table, id, { ...tx.need(table, id, 'secret'), sealed })
  else tx.put(table, id, { ...tx.need(table, id, 'identity provider'), sealed })
  return true
}

const textAt = (state: SealedTables, { table, id }: SealedPlace) =>
  table === 'cluster' ? state.cluster.get(id)?.sealed_ca_key : state[table].get(id)?.sealed

/** Where a text stands that another cluster key protects than the one of this id. */
export function otherThan(state: SealedTables, key: string): SealedPlace | undefined {
  for (const text of sealedIn(state)) if (envelopeKey(text.sealed) !== key) return text
  return undefined
}
