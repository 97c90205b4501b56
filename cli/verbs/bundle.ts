import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Command } from 'commander'
import { Exit, exitCode, UsageError } from '../failure.ts'
import type { Tool } from '../tool.ts'

export function bundleVerbs(program: Command, tool: Tool): void {
  program
    .command('bundle')
    .description('packages of the agent')
    .command('verify <file>')
    .description('check that a package is, byte for byte, what the holder of a key signed')
    .requiredOption('--key <file>', "the signer's public key (PEM, Ed25519), had from somebody you trust")
    .option('--signature <file>', 'the signature (default: FILE.sig)')
    .action(async (file: string, options: { key: string; signature?: string }) => {
      const at = (name: string) => path.resolve(tool.terminal.cwd, name)
      const key = publicKey(await contentOf(at(options.key)), options.key)
      const signature = await contentOf(at(options.signature ?? `${file}.sig`))
      const signed = verify(null, await contentOf(at(file)), key, Buffer.from(signature.toString(), 'base64'))
      if (!signed)
        throw new Exit(
          exitCode.failure,
          `${file} is not what the holder of this key signed: it was changed or cut off, or somebody else signed it.\n` +
            'hint: Do not install it. Fetch it and its signature again.\n',
        )
      tool.terminal.out(`${file}: signed by the holder of ${options.key}\n`)
    })
}

async function contentOf(file: string): Promise<Buffer> {
  return readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`cannot read ${file}: ${error.code ?? error.message}`)
  })
}

function publicKey(pem: Buffer, name: string): KeyObject {
  try {
    const key = createPublicKey(pem)
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch {
    // Said below.
  }
  throw new UsageError(`${name} is no Ed25519 public key`, 'It begins with -----BEGIN PUBLIC KEY-----.')
}
