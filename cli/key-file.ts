/** What `--key-file` is, for every command that asks nodes. */
export const KEY_FILE = 'ask only nodes that have a key of this file (mode 0600; `ID SECRET` on a line)';
