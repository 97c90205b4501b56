import { createReadStream } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { baseImageTag, buildBaseImage, loadBaseImage } from '../../resources/demo/base-image.ts'
import { needs } from '../setup/needs.ts'
import { type Engine, startEngine } from './engine.ts'

describe('a base image', needs.engine, () => {
  let root: string
  let engine: Engine
  beforeAll(async () => {
    root = await mkdtemp('/tmp/image-')
    engine = await startEngine({ root })
  })
  afterAll(async () => {
    await engine.stop()
    await rm(root, { recursive: true })
  })

  async function run(Cmd: string[]) {
    const output = new PassThrough()
    const [status] = (await engine.docker.run(baseImageTag, Cmd, output, { Tty: true })) as [
      { StatusCode: number },
    ]
    output.end()
    return { status: status.StatusCode, output: (await text(output)).replaceAll('\r', '') }
  }

  test('for a host without Python has Node, and is taken as it is from then on', async () => {
    const image = await buildBaseImage({ out: path.join(root, 'image.tar'), language: 'node' })
    expect(image).toMatchObject({ tag: baseImageTag, language: 'node' })
    expect((await stat(image.path)).size).toBeLessThan(160 << 20)
    const progress = await engine.docker.loadImage(createReadStream(image.path))
    await new Promise((resolve) => engine.docker.modem.followProgress(progress, resolve))

    expect(await loadBaseImage(engine.docker)).toMatchObject({ tag: baseImageTag, language: 'node' })
    expect(await run(['sh', '-c', 'node -e "console.log(String(6 * 7))"; exit 3'])).toEqual({
      status: 3,
      output: '42\n',
    })
  })

  test('is the same from the same files, wherever and whenever it is made', async () => {
    const loaded = async () => {
      await engine.docker.getImage(baseImageTag).remove({ force: true })
      return (await loadBaseImage(engine.docker)).id
    }
    expect(await loaded()).toBe(await loaded())
  })

  test('runs as any user', async () => {
    const Cmd = [
      'sh',
      '-c',
      'id -u; echo kept > /tmp/file; cat /tmp/file; python3 -c "import json" || node -p 1',
    ]
    const output = new PassThrough()
    await engine.docker.run(baseImageTag, Cmd, output, { Tty: true, User: '1000:1000' })
    output.end()
    expect((await text(output)).replaceAll('\r', '')).toMatch(/^1000\nkept\n/)
  })
})
