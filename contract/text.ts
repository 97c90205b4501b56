import { z } from 'zod'

/**
 * What makes a terminal or a page show other than what stands there: C1 controls (U+009B begins an escape sequence on
 * many terminals), line separators, and characters that turn the direction of what follows.
 */
const misleading = '\\u0080-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069'
const notInLine = new RegExp(`^[^\\u0000-\\u001f\\u007f${misleading}]*$`)

/**
 * Text safe to print, store and put into a container's environment: bounded, no NUL or other control characters, none
 * that turn the direction of text.
 */
export function line(max: number) {
  return z
    .string({ error: 'expected a text' })
    .max(max, `expected at most ${max} characters`)

    .regex(notInLine, 'expected no control characters, line separators or marks of text direction')
}

/** Like `line`, but tabs and line ends are allowed (scripts, environment values). */
export function text(max: number) {
  return z
    .string({ error: 'expected a text' })
    .max(max, `expected at most ${max} characters`)

    .regex(/^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]*$/, 'expected no control characters')
}

/** Name of an experiment, node, user …: what every shell, URL and file system takes as it is. */
export const Name = z
  .string({ error: 'expected a name' })
  .min(1, 'expected at least one character')
  .max(63, 'expected at most 63 characters')
  .regex(
    /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/,
    'expected letters, digits, ".", "_" or "-", beginning and ending with a letter or digit',
  )

/** RFC 3339 time in UTC. */
export const Time = z.iso.datetime({ error: 'expected a time such as 2026-01-31T12:00:00Z' })

export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected a SHA-256 in lower-case hex')

/**
 * A file's path below a task's output folder: relative, with "/" between parts, no empty, "." or ".." part,
 * no backslash and no control character, so it can name no file outside on any system.
 */
export const ArtifactPath = z
  .string({ error: 'expected a text' })
  .min(1, 'expected a path')
  .max(1024, 'expected at most 1024 characters')
  // Kept manifests name files with any other character: they must stay readable.
  .regex(/^[^\u0000-\u001f\u007f]*$/, 'expected no control characters')
  .refine((path) => isInside(path), 'expected a relative path without ".", "..", empty parts or backslashes')

export function isInside(path: string): boolean {
  return !path.includes('\\') && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
}

/** Raft index of an object's last change: its version, its ETag, and where a watch resumes. */
export const ResourceVersion = z.int().min(0)
