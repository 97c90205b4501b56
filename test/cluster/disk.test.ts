import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { needs } from '../setup/needs.ts'
import { eventually, Lab } from './lab.ts'

const mebi = 1024 ** 2

describe('a disk that fills up', needs.root, () => {
  it('stops new work long before it is full, loses nothing, and takes work again when there is room', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'submarine-disk-'))
    // The floor is 1 GiB: two agents with their reserve leave well above it, the filler takes them below.
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1500m', 'tmpfs', folder])
    let lab: Lab | undefined
    try {
      const here = (lab = await Lab.start({ agents: 2, folder: join(folder, 'lab') }))
      const script = { name: 'before', command: 'echo kept', resources: 'cpu=0.5, memory=64Mi' }
      const { id } = await here.submit(script)
      await here.ended(id)
      const filler = join(folder, 'filler')
      await writeFile(filler, Buffer.alloc(420 * mebi))
      await eventually('the nodes say so', async () => {
        const { items } = await here.client().call('nodes.list', {})
        return items.every((node) => node.usage?.disk_low)
      })
      const refused = here.submit({ ...script, name: 'refused' })
      await expect(refused).rejects.toMatchObject({ code: 'disk_low', status: 507 })
      await expect(here.client().raw('blobs.create', {}, Buffer.from('code'))).rejects.toMatchObject({
        code: 'disk_low',
      })
      expect(await here.logOf(id)).toEqual(['kept'])
      await rm(filler)
      await eventually('there is room', async () =>
        here.submit({ ...script, name: 'after' }).catch(() => false),
      )
    } finally {
      await lab?.stop()
      execFileSync('umount', ['-l', folder])
      await rm(folder, { recursive: true, force: true, maxRetries: 10 })
    }
  })
})
