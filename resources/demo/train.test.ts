import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { needs } from '../../test/setup/needs.ts'

const exec = promisify(execFile)

interface Point {
  key: string
  value: number
  step: number
  time: string
}
interface Received {
  url: string | undefined
  authorization: string | undefined
  points: Point[]
}

let folder: string
let certificate: { key: string; cert: string }
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'train-'))
  certificate = await selfSigned()
})
afterAll(() => rm(folder, { recursive: true }))

async function selfSigned() {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ])
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=test',
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true),
      new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }]),
    ],
  })
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')
  return { key, cert: cert.toString('pem') }
}

/** A server that takes metrics; the first so many requests are answered with 503. */
async function startServer(server: http.Server, { refusals = 0 } = {}) {
  const received: Received[] = []
  server.on('request', (request: http.IncomingMessage, reply: http.ServerResponse) => {
    void text(request).then((body) => {
      const { points } = JSON.parse(body) as { points: Point[] }
      if (refusals-- > 0) return reply.writeHead(503).end()
      received.push({ url: request.url, authorization: request.headers.authorization, points })
      return reply.writeHead(204).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { received, port }
}

describe.each([
  { language: 'Python', command: ['python3', 'train.py'], need: needs.python },
  { language: 'Node', command: [process.execPath, 'train.mjs'], need: {} },
])('the demo experiment in $language', ({ language, command, need }) => {
  describe('training', need, () => {
    let output: string
    beforeEach(async () => {
      output = await mkdtemp(path.join(folder, language))
    })

    async function train(env: NodeJS.ProcessEnv) {
      const [program = '', script = ''] = command
      const { stdout } = await exec(program, [path.join(import.meta.dirname, script)], {
        env: {
          PATH: process.env['PATH'],
          HOME: process.env['HOME'],
          EPOCH_SECONDS: '0',
          SUBMARINE_OUTPUT: output,
          ...env,
        },
      })
      return stdout.trim().split('\n')
    }
    const written = async (name: string) =>
      JSON.parse(await readFile(path.join(output, name), 'utf8')) as unknown

    test('learns, says so each epoch, and leaves a model', async () => {
      const lines = await train({})
      const epochs = lines.filter((line) => line.startsWith('epoch'))
      const losses = epochs.map((line) => Number(/loss (\S+)/.exec(line)?.[1]))
      expect(epochs).toHaveLength(50)
      expect(epochs[0]).toMatch(/^epoch {3}1\/50 {2}loss \d\.\d{4} {2}accuracy [01]\.\d{4}$/)
      for (const [index, loss] of losses.slice(1).entries()) expect(loss).toBeLessThan(losses[index]!)

      const accuracy = Number(/^accuracy (\S+) on penguins it had not seen$/.exec(lines.at(-1)!)?.[1])
      expect(accuracy).toBeGreaterThan(0.9)
      const metrics = (await written('metrics.json')) as { accuracy: number }
      expect(metrics).toMatchObject({ epochs: 50 })
      expect(metrics.accuracy).toBeCloseTo(accuracy, 4)
      expect(await written('model.json')).toMatchObject({ species: ['Adelie', 'Chinstrap', 'Gentoo'] })
    })

    test('reports each metric of each epoch once, also those refused at first', async () => {
      const server = http.createServer()
      const { received, port } = await startServer(server, { refusals: 1 })
      const lines = await train({
        EPOCHS: '3',
        SUBMARINE_API: `http://127.0.0.1:${port}`,
        SUBMARINE_EXPERIMENT_ID: 'e-1',
        SUBMARINE_TOKEN: 'secret',
      })
      server.close()
      expect(received[0]).toMatchObject({
        url: '/api/v2/experiments/e-1/metrics',
        authorization: 'Bearer secret',
      })
      const points = received.flatMap((one) => one.points)
      expect(points.map(({ key, step }) => `${key} ${step}`)).toEqual(
        [1, 2, 3].flatMap((step) => [`loss ${step}`, `accuracy ${step}`]),
      )
      for (const { value, time } of points) {
        expect(value).toBeGreaterThan(0)
        expect(new Date(time).toISOString()).toBe(time)
      }
      expect(lines.filter((line) => line.includes('cannot be reported'))).toHaveLength(1)
    })

    test("trusts the cluster's own certificate authority", async () => {
      const server = https.createServer(certificate)
      const { received, port } = await startServer(server)
      const ca = path.join(folder, 'ca.pem')
      await writeFile(ca, certificate.cert)
      const env = { EPOCHS: '1', SUBMARINE_API: `https://127.0.0.1:${port}`, SUBMARINE_EXPERIMENT_ID: 'e-1' }
      const refused = await train(env)
      expect(received).toEqual([])
      expect(refused.join('\n')).toMatch(/cannot be reported.*certificate/i)
      await train({ ...env, SUBMARINE_CA: ca })
      expect(received).toHaveLength(1)
      server.close()
    })

    test('goes on where nobody takes its metrics, and says it once', async () => {
      // Port 9 discards, where anything listens there at all.
      const api = { SUBMARINE_API: 'http://127.0.0.1:9', SUBMARINE_EXPERIMENT_ID: 'e-1' }
      const lines = await train({ ...api, SUBMARINE_CA: '/no/such/file' })
      expect(lines.filter((line) => line.includes('cannot be reported'))).toHaveLength(1)
      expect(await written('metrics.json')).toMatchObject({ epochs: 50 })
    })
  })
})

test('both languages learn the same', needs.python, async () => {
  const results = await Promise.all(
    [
      ['python3', 'train.py'],
      [process.execPath, 'train.mjs'],
    ].map(([program = '', script = '']) =>
      exec(program, [
        path.join(import.meta.dirname, script),
        '--epochs',
        '5',
        '--epoch-seconds',
        '0',
        '--output',
        folder,
      ]),
    ),
  )
  expect(results[0]!.stdout).toBe(results[1]!.stdout)
})
