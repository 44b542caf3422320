import { parse } from 'acorn';
import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../host/paths.js';
import { minify } from './minify.js';
import { minifyCss, minifyHtml, minifyJson, minifyScript } from './minify-text.js';

describe('JSON', () => {
  it('keeps its value, and every digit of it', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(undefined, 1, '\t'), (text, indent) => {
        const value: unknown = JSON.parse(text);
        expect(minifyJson(JSON.stringify(value, null, indent))).toBe(JSON.stringify(value));
      }),
    );
    const odd = '{ "a" : 12345678901234567890.10, "a" : "x \\" y" }';
    expect(minifyJson(odd)).toBe('{"a":12345678901234567890.10,"a":"x \\" y"}');
  });
});

describe('style sheets', () => {
  it.each([
    ['a {\n  color : red ;\n}\n', 'a{color : red;}'],
    ['/* gone */ a /**/ b{}', '/**/ a /**/ b{}'],
    ['/*! kept */a{}', '/*! kept */a{}'],
    ['a::before { content: "a  ;  { b" }', 'a::before{content: "a  ;  { b"}'],
    ['a { background: url( data:x;base64,  ) ; }', 'a{background: url( data:x;base64,  );}'],
    ['a  >  b , c { }', 'a > b , c{}'],
  ])('%s', (before, after) => {
    expect(minifyCss(before)).toBe(after);
  });
});

describe('HTML', () => {
  it.each([
    ['<ul>\n    <li>a  b</li>\n\n    <li>c</li>\n</ul>', '<ul>\n<li>a  b</li>\n<li>c</li>\n</ul>'],
    ['<pre>\n  <b>  </b>\n\n  <i>x</i></pre>   <p>', '<pre>\n  <b>  </b>\n\n  <i>x</i></pre> <p>'],
    ['<script>if (a <  b) { "<p>   <p>" }</script>', '<script>if (a <  b) { "<p>   <p>" }</script>'],
    ['<textarea>\n   <</textarea>', '<textarea>\n   <</textarea>'],
    ['<!--  $  -->   <p title="a   >   <b">', '<!--  $  --> <p title="a   >   <b">'],
    ["<p title=it's>   <pre>  don't  </pre>", "<p title=it's>   <pre>  don't  </pre>"],
  ])('%s', (before, after) => {
    expect(minifyHtml(before)).toBe(after);
  });
});

describe('scripts', () => {
  it.each([
    ['var a = 1; /* c */\nfunction  f ( b ) { return b }\n', 'var a=1;function f(b){return b}\n'],
    ['a = b\n(c)\nreturned\n++d', 'a=b\n(c)\nreturned\n++d\n'],
    [
      'x = a + +b - -c; y = a / /re/.lastIndex; z = 1 .toFixed',
      'x=a+ +b- -c;y=a/ /re/.lastIndex;z=1 .toFixed\n',
    ],
    ['t = `a   ${ b  + c }   // no comment\n` // comment', 't=`a   ${b+c}   // no comment\n`\n'],
    ['function f() { return /*! mine */ 5 }', 'function f(){return /*! mine */ 5}\n'],
    ['//# sourceMappingURL=x\na // b', '//# sourceMappingURL=x\na\n'],
    ["import a from 'b' ; export default a in  'c'", "import a from'b';export default a in'c'\n"],
  ])('%s', (before, after) => {
    expect(minifyScript(before)).toBe(after);
  });

  it('are parsed as what they were before', () => {
    /** A tree without places and without what only says how a text was written. */
    const tree = (text: string): string =>
      JSON.stringify(parse(text, { ecmaVersion: 'latest', sourceType: 'module' }), (key, value: unknown) =>
        key === 'start' || key === 'end' ? undefined : typeof value === 'bigint' ? String(value) : value,
      );
    for (const file of [
      'test/fixtures/impair.mjs',
      'node_modules/commander/lib/command.js',
      'eslint.config.js',
    ]) {
      const text = readFileSync(join(packageRoot, file), 'utf8');
      const made = minifyScript(text);
      expect(tree(made)).toBe(tree(text));
      expect(made.length).toBeLessThan(text.length);
    }
  });

  it('that are none are an error', () => {
    expect(() => minifyScript('this is not a script')).toThrow(SyntaxError);
  });
});

it('what is not UTF-8 stays as it is', () => {
  const subject = { mediaType: 'application/json', charset: undefined, uri: '', fields: {} };
  expect(minify(Buffer.from('{ "a": "\xe9" }', 'latin1'), subject)).toBeUndefined();
  expect(minify(Buffer.from('{ }'), { ...subject, charset: 'utf-16' })).toBeUndefined();
  expect(minify(Buffer.from('\ufeff{ }'), subject)?.content.toString()).toBe('\ufeff{}');
});
