import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'

const version = '4.32.5'
const root = path.dirname(path.dirname(import.meta.dirname))

/**
 * Schemathesis (PyPI), which makes requests from an OpenAPI document, in an environment of its own below node_modules;
 * undefined where no package registry for Python can be reached.
 */
export function schemathesis(): string | undefined {
  const folder = path.join(root, 'node_modules/.cache', `schemathesis-${version}`)
  const program = path.join(folder, 'bin/schemathesis')
  const done = (command: string, args: string[]) => spawnSync(command, args, { stdio: 'ignore', timeout: 180_000 }).status === 0 // prettier-ignore
  const works = () => existsSync(program) && done(program, ['--version'])
  if (works()) return program
  const made =
    done('python3', ['-m', 'venv', '--clear', folder]) &&
    done(path.join(folder, 'bin/pip'), ['install', '--quiet', '--disable-pip-version-check', `schemathesis==${version}`]) // prettier-ignore
  return made && works() ? program : undefined
}
