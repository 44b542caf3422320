// @ts-check
// A content transform: plain text, cut down to its first words.
//
//   rules:
//     - match: { dport: 80 }
//       action: cache
//       content:
//         - { module: first-words.mjs, types: [text/plain], options: { words: 50 } }

/** @type {import('../../content/transform.ts').ContentFunction} */
export default function firstWords(content, { charset = 'utf-8' }, { words = 100 }) {
  if (charset !== 'utf-8') return undefined; // left as it is
  const all = content.toString().split(/(?<=\s)(?=\S)/);
  return { content: Buffer.from(all.slice(0, Number(words)).join('')) };
}
