import type { secretKinds } from '../../../contract/secrets.ts'
import { type SecretInput } from '../../../contract/secrets.ts'

export type SecretKind = (typeof secretKinds)[number]

export const kindText: Record<SecretKind, string> = {
  generic: 'anything',
  s3: 'S3 or IAM',
  git: 'git',
  registry: 'registry',
  keytab: 'Kerberos keytab',
}

/** A file of any bytes as the API takes it. */
export async function valueOf(file: Blob): Promise<Pick<SecretInput, 'value' | 'encoding'>> {
  const bytes = new Uint8Array(await file.arrayBuffer())
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return { value: btoa(text), encoding: 'base64' }
}
