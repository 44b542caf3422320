import fc from 'fast-check';
import { expect, it } from 'vitest';
import { printable, printableJson, printableLines } from './printable.js';

const hostile = 'a\u001b]0;owned\u0007 \u009b2J \u202egnp.exe\r\nb\u2028\u007f é';

it('leaves nothing that a terminal obeys, and the rest as it is', () => {
  expect(printable(hostile)).toBe(
    'a\\u001b]0;owned\\u0007 \\u009b2J \\u202egnp.exe\\u000d\\u000ab\\u2028\\u007f é',
  );
  expect(printableLines('one\ntwo\r\n\u001b[2J')).toBe('one\ntwo\\u000d\n\\u001b[2J');
});

it('JSON means the same', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.double(), (text, value) => {
      const shown = printableJson({ [text]: [value, text, hostile] });
      expect(shown).toMatch(/^[^\p{Cc}\p{Bidi_Control}]*$/u);
      expect(JSON.parse(shown)).toEqual(JSON.parse(JSON.stringify({ [text]: [value, text, hostile] })));
    }),
  );
});
