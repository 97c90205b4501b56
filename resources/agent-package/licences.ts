import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'

const licenceFile = /^(licen[cs]e|copying|notice)/i

/** The licences of packages whose code is shipped, one after the other. */
export async function licencesOf(modules: string, names: Iterable<string>): Promise<string> {
  const sections: string[] = []
  for (const name of [...names].sort()) sections.push(await licenceOf(path.join(modules, name)))
  return sections.join('\n')
}

async function licenceOf(folder: string): Promise<string> {
  const { name, version, license } = JSON.parse(
    await readFile(path.join(folder, 'package.json'), 'utf8'),
  ) as {
    name: string
    version: string
    license?: string
  }
  const files = (await readdir(folder)).filter((file) => licenceFile.test(file)).sort()
  const texts = await Promise.all(files.map((file) => readFile(path.join(folder, file), 'utf8')))
  if (!license && !texts.length) throw new Error(`${name} ${version} is shipped but states no licence`)
  const head = `${name} ${version}${license ? ` (${license})` : ''}`
  return `${head}\n${'='.repeat(head.length)}\n\n${texts.map((text) => `${text.trim()}\n`).join('\n')}`
}
