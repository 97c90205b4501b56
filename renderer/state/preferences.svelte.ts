export const themes = ['system', 'light', 'dark'] as const
export type Theme = (typeof themes)[number]

const key = 'submarine.theme'

/** What this person chose on this machine. */
export class Preferences {
  #theme = $state<Theme>(read())

  get theme(): Theme {
    return this.#theme
  }
  set theme(theme: Theme) {
    this.#theme = theme
    try {
      if (theme === 'system') localStorage.removeItem(key)
      else localStorage.setItem(key, theme)
    } catch {
      // Storage may be forbidden; the choice then lasts as long as the page.
    }
    this.apply()
  }

  apply(): void {
    if (this.#theme === 'system') delete document.documentElement.dataset['theme']
    else document.documentElement.dataset['theme'] = this.#theme
  }
}

function read(): Theme {
  try {
    return themes.find((theme) => theme === localStorage.getItem(key)) ?? 'system'
  } catch {
    return 'system'
  }
}
