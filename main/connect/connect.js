// The page before any cluster is chosen. Texts of others go into the page as text only.
const element = (id) => document.getElementById(id)
const { desktop } = window
let found

/** Runs one question to the main process and shows what went wrong. */
async function ask(channel, argument) {
  element('message').textContent = ''
  const answer = await desktop[channel](argument)
  if (answer.ok) return answer.value
  element('message').textContent = `${answer.error.message}. ${answer.error.hint}`
  return undefined
}

const openConsole = () => location.replace('/')

function button(text, onClick) {
  const made = document.createElement('button')
  made.type = 'button'
  made.textContent = text
  made.addEventListener('click', onClick)
  return made
}

function showKnown({ connections }) {
  element('known').replaceChildren(
    ...connections.map(({ id, name, addresses }) => {
      const item = document.createElement('li')
      const label = document.createElement('span')
      label.textContent = `${name} (${addresses[0]})`
      const use = button('Open', async () => (await ask('connections.use', { id })) && openConsole())
      const remove = button('Forget', async () => {
        const rest = await ask('connections.remove', { id })
        if (rest) showKnown(rest)
      })
      item.append(label, use, remove)
      return item
    }),
  )
}

element('address-form').addEventListener('submit', async (event) => {
  event.preventDefault()
  found = await ask('connections.inspect', { address: element('address').value })
  element('found').hidden = !found
  if (!found) return
  element('cluster').textContent = found.cluster
  element('fingerprint').textContent = found.fingerprint.toUpperCase().match(/../g).join(':')
})

element('trust').addEventListener('click', async () => {
  const { address, fingerprint } = found
  if (await ask('connections.add', { address, fingerprint })) openConsole()
})

const known = await ask('connections.list', {})
if (known) showKnown(known)
