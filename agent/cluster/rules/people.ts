import type { Command } from '../commands.ts'
import type { Transaction } from '../transaction.ts'

type Of<T extends Command['type']> = Extract<Command, { type: T }>

export function createToken(tx: Transaction, { sha256, user, expires_at }: Of<'token.create'>): void {
  tx.need('users', user, 'user')
  for (const [key, token] of tx.state.tokens) if (token.expires_at <= tx.at) tx.delete('tokens', key)
  tx.put('tokens', sha256, { user, created_at: tx.at, expires_at })
  tx.event('user.signed_in', { kind: 'user', id: user }, `${user} signed in`)
}

export function deleteToken(tx: Transaction, { sha256 }: Of<'token.delete'>): void {
  if (tx.get('tokens', sha256)) tx.delete('tokens', sha256)
}
