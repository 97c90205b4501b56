import { describe, expect, it } from 'vitest'
import { ImageName, normalImage, parseImage, RegistryHost, RegistryInput } from './images.ts'

const digest = `sha256:${'ab'.repeat(32)}`

describe("an image's name", () => {
  it.each([
    ['python', 'python:latest'],
    ['docker.io/library/python:3.12', 'python:3.12'],
    ['index.docker.io/ana/tool', 'ana/tool:latest'],
    ['library/python:3', 'python:3'],
    ['ana/tool:v1', 'ana/tool:v1'],
    ['localhost/tool', 'localhost/tool:latest'],
    ['registry.lab:5000/a/b/tool:v1', 'registry.lab:5000/a/b/tool:v1'],
    ['[::1]:5000/tool:v1', '[::1]:5000/tool:v1'],
    [`python@${digest}`, `python@${digest}`],
    [`python:3.12@${digest}`, `python:3.12@${digest}`],
  ])('%s is %s', (given, normal) => {
    expect(normalImage(given)).toBe(normal)
    expect(normalImage(normal)).toBe(normal)
  })

  it.each(['', 'Python', 'a//b', 'a:b:c', 'tool:', '-tool', 'a b', 'tool@sha256:12', `x${'y'.repeat(600)}`])(
    '%j is none',
    (name) => {
      expect(parseImage(name)).toBeUndefined()
      expect(ImageName.safeParse(name).success).toBe(false)
    },
  )

  it('that can be given has no digest', () => {
    expect(ImageName.safeParse(`python@${digest}`).success).toBe(false)
    expect(ImageName.safeParse('python:3.12').success).toBe(true)
  })
})

describe('a registry', () => {
  it.each(['registry.lab', 'registry.lab:5000', '10.0.0.5:5000', 'localhost', '[::1]:5000', 'docker.io'])(
    'may be %s',
    (host) => {
      expect(RegistryHost.safeParse(host).success).toBe(true)
    },
  )
  it.each(['', 'registry', 'https://registry.lab', 'registry.lab/team', 'a b.c'])('is not %j', (host) => {
    expect(RegistryHost.safeParse(host).success).toBe(false)
  })
  it('has user and password or neither, and one way of trust', () => {
    const host = 'registry.lab'
    expect(RegistryInput.safeParse({ host, user: 'ana' }).success).toBe(false)
    expect(RegistryInput.safeParse({ host, ca: 'PEM', insecure: true }).success).toBe(false)
    expect(RegistryInput.safeParse({ host, user: 'ana', password: 'x', insecure: true }).success).toBe(true)
  })
})
