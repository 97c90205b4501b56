// What a test needs of the machine, as options for `describe` and `test`: where it is lacking, the test is
// skipped and test/setup/skips.ts names it with the way to get it.
//
//   describe('containers', needs.engine, () => { … })
//   test('in a browser on real containers', allOf(needs.engine, needs.chromium), () => { … })
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

declare module 'vitest' {
  interface TaskMeta {
    lacking?: Lacking
  }
}

export interface Lacking {
  /** What is not there. */
  what: string
  /** How to get it. */
  remedy: string
  /** Whether a run in CI may lack it too: only what no package of the distribution brings. */
  allowedInCi: boolean
}

export interface Need {
  skip?: true
  meta?: { lacking: Lacking }
}

/** Preloaded into a process, it reads the offset of its clock from a file. */
export const faketime = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketimeMT.so.1`

const setup = 'run "npm test -- --setup" as root on Debian'

const root = need(process.getuid?.() === 0, { what: 'root', remedy: 'run the tests as root' })
const namespaces = allOf(
  root,
  commands('ip', 'nsenter', 'setpriv'),
  need(() => succeeds('unshare', ['--net', '--mount', 'true']), {
    what: 'network namespaces',
    remedy: 'run on a machine or container with CAP_SYS_ADMIN and CAP_NET_ADMIN',
  }),
)

export const needs = {
  root,
  /** Network namespaces with links between them: several hosts on one machine. */
  namespaces,
  /** A private Docker Engine (test/docker/engine.ts). */
  engine: allOf(namespaces, commands('dockerd', 'containerd', 'runc', 'iptables')),
  /** Agents on hosts of their own that are cut off, filled up, and given wrong clocks and failing disks (test/chaos). */
  chaos: allOf(
    namespaces,
    commands('iptables', 'strace'),
    need(existsSync(faketime), { what: 'libfaketime', remedy: setup }),
  ),
  /** Wrong clocks. */
  faketime: need(existsSync(faketime), { what: 'libfaketime', remedy: setup }),
  /** The peer of bench/, beside ours on hosts of their own. */
  etcd: allOf(namespaces, commands('etcd', 'etcdctl')),
  /** Scrapes agents; promtool comes with it. */
  prometheus: commands('prometheus', 'promtool'),
  /** Debian's directory server and its tools, which a test runs by itself (test/setup/directory.ts). */
  slapd: commands('slapd', 'slapadd'),
  /** Debian's Kerberos realm and its tools, which a test runs by itself (test/setup/realm.ts). */
  kerberos: commands('krb5kdc', 'kdb5_util', 'kadmin.local', 'kinit', 'kvno'),
  /** Debian's docker-registry, for images behind a password. */
  registry: commands('docker-registry'),
  chromium: need(chromium() !== undefined, { what: 'Chromium', remedy: setup }),
  /** Writes the databases in which Chromium keeps whom it trusts. */
  certutil: commands('certutil'),
  python: need(() => succeeds('python3', ['-c', '']), { what: 'Python 3', remedy: setup }),
  git: commands('git'),
  electron: need(existsSync(electronBinary()), {
    what: "Electron's binary",
    remedy: 'run "node node_modules/electron/install.js" where github.com can be reached',
    allowedInCi: true,
  }),
  gpu: need(() => succeeds('nvidia-smi', ['-L']), {
    what: 'an NVIDIA GPU',
    remedy: 'run on a host with a GPU and its driver',
    allowedInCi: true,
  }),
}

/** A need for something outside the machine that a test found to be refused, such as a registry. */
export function outside(reachable: boolean, what: string): Need {
  return need(reachable, { what, remedy: 'run where it can be reached', allowedInCi: true })
}

/** All of several needs; the first that is lacking is the reason. */
export function allOf(...all: Need[]): Need {
  return all.find((one) => one.skip) ?? {}
}

/** Debian's Chromium, or the one that CHROMIUM names. */
export function chromium(): string | undefined {
  return process.env['CHROMIUM'] ?? onPath('chromium')
}

/** Where Electron's binary lies once its package has fetched it. */
export function electronBinary(): string {
  const folder = path.dirname(createRequire(import.meta.url).resolve('electron/package.json'))
  const names: Partial<Record<NodeJS.Platform, string>> = {
    darwin: 'Electron.app/Contents/MacOS/Electron',
    win32: 'electron.exe',
  }
  const dist = process.env['ELECTRON_OVERRIDE_DIST_PATH'] ?? path.join(folder, 'dist')
  return path.join(dist, names[process.platform] ?? 'electron')
}

function need(
  met: boolean | (() => boolean),
  lacking: Omit<Lacking, 'allowedInCi'> & Partial<Lacking>,
): Need {
  if (typeof met === 'boolean' ? met : met()) return {}
  return { skip: true, meta: { lacking: { allowedInCi: false, ...lacking } } }
}

function commands(...names: string[]): Need {
  const absent = names.find((name) => !onPath(name))
  return need(absent === undefined, { what: `the command ${absent}`, remedy: setup })
}

function succeeds(command: string, args: string[]) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

function onPath(name: string): string | undefined {
  // Debian keeps dockerd and iptables where only root's PATH leads.
  const folders = [...(process.env['PATH'] ?? '').split(path.delimiter), '/usr/sbin', '/sbin']
  return folders.map((folder) => path.join(folder, name)).find(isExecutable)
}

function isExecutable(file: string) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
