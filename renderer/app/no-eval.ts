import { config } from 'zod'

// Zod tries out whether it may compile its parsers; our content security policy would refuse and report that.
// Imported before any schema is made.
config({ jitless: true })
