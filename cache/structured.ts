/**
 * Structured field values (RFC 9651, which replaces RFC 8941): dictionaries and lists, read as strictly as the
 * specification asks. A field that does not parse is `undefined` as a whole; there are no partial results.
 */

export type BareItem =
  | { readonly kind: 'integer' | 'decimal' | 'date'; readonly value: number }
  | { readonly kind: 'string' | 'token' | 'bytes' | 'display'; readonly value: string }
  | { readonly kind: 'boolean'; readonly value: boolean };

export type Parameters = ReadonlyMap<string, BareItem>;

export interface Item {
  readonly item: BareItem;
  readonly parameters: Parameters;
}

export interface InnerList {
  readonly inner: readonly Item[];
  readonly parameters: Parameters;
}

export type Member = Item | InnerList;

/** What the parser throws and the entry points turn into `undefined`. */
const FAILED = new Error('not a structured field');

const TRUE: BareItem = { kind: 'boolean', value: true };
const KEY = /[a-z*][a-z0-9_\-.*]*/y;
const NUMBER = /-?(\d+)(?:\.(\d+))?/y;
const TOKEN = /[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*/y;
const STRING = /"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"/y;
const BYTES = /:([A-Za-z0-9+/=]*):/y;
const DISPLAY = /%"((?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*)"/y;
const BOOLEAN = /\?([01])/y;

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get ended(): boolean {
    return this.#at >= this.#text.length;
  }

  peek(): string {
    return this.#text[this.#at] ?? '';
  }

  take(char: string): boolean {
    if (this.peek() !== char) return false;
    this.#at++;
    return true;
  }

  /** Skips SP, or SP and HTAB. */
  skip(tabs = false): void {
    while (this.peek() === ' ' || (tabs && this.peek() === '\t')) this.#at++;
  }

  match(pattern: RegExp): RegExpExecArray {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found === null) throw FAILED;
    this.#at = pattern.lastIndex;
    return found;
  }

  /** RFC 9651 section 4.2.3.1. */
  bareItem(): BareItem {
    const char = this.peek();
    if (char === '"') return { kind: 'string', value: (this.match(STRING)[1] ?? '').replace(/\\(.)/g, '$1') };
    if (char === '?') return { kind: 'boolean', value: this.match(BOOLEAN)[1] === '1' };
    if (char === ':') return { kind: 'bytes', value: this.match(BYTES)[1] ?? '' };
    if (char === '%') return { kind: 'display', value: this.match(DISPLAY)[1] ?? '' };
    if (char === '@') {
      this.#at++;
      const date = this.#number();
      if (date.kind !== 'integer') throw FAILED;
      return { kind: 'date', value: date.value };
    }
    if (char === '-' || (char >= '0' && char <= '9')) return this.#number();
    return { kind: 'token', value: this.match(TOKEN)[0] };
  }

  /** RFC 9651 section 4.2.4: at most 15 digits, or 12 before and 3 behind the point. */
  #number(): { readonly kind: 'integer' | 'decimal'; readonly value: number } {
    const [text, whole = '', fraction] = this.match(NUMBER);
    if (fraction === undefined) {
      if (whole.length > 15 || this.peek() === '.') throw FAILED;
      return { kind: 'integer', value: Number(text) };
    }
    if (whole.length > 12 || fraction.length > 3) throw FAILED;
    return { kind: 'decimal', value: Number(text) };
  }

  parameters(): Parameters {
    const parameters = new Map<string, BareItem>();
    while (this.take(';')) {
      this.skip();
      const [key] = this.match(KEY);
      parameters.delete(key);
      parameters.set(key, this.take('=') ? this.bareItem() : TRUE);
    }
    return parameters;
  }

  member(): Member {
    return this.peek() === '(' ? this.#innerList() : this.#item();
  }

  #item(): Item {
    return { item: this.bareItem(), parameters: this.parameters() };
  }

  #innerList(): InnerList {
    this.#at++;
    const inner: Item[] = [];
    for (;;) {
      this.skip();
      if (this.take(')')) return { inner, parameters: this.parameters() };
      inner.push(this.#item());
      if (this.peek() !== ' ' && this.peek() !== ')') throw FAILED;
    }
  }

  /** Between members: a comma with something behind it, or the end. */
  separator(): void {
    this.skip(true);
    if (this.ended) return;
    if (!this.take(',')) throw FAILED;
    this.skip(true);
    if (this.peek() === '') throw FAILED;
  }
}

function parse<T>(values: readonly string[], read: (parser: Parser) => T): T | undefined {
  try {
    const parser = new Parser(values.join(', '));
    parser.skip();
    return read(parser);
  } catch (error) {
    if (error === FAILED) return undefined;
    throw error;
  }
}

/** RFC 9651 section 4.2.2: the members in order of their (last) occurrence; `undefined` when malformed. */
export function parseDictionary(values: readonly string[]): ReadonlyMap<string, Member> | undefined {
  return parse(values, (parser) => {
    const members = new Map<string, Member>();
    while (!parser.ended) {
      const [key] = parser.match(KEY);
      members.set(key, parser.take('=') ? parser.member() : { item: TRUE, parameters: parser.parameters() });
      parser.separator();
    }
    return members;
  });
}

/** RFC 9651 section 4.2.1; `undefined` when malformed. */
export function parseList(values: readonly string[]): readonly Member[] | undefined {
  return parse(values, (parser) => {
    const members: Member[] = [];
    while (!parser.ended) {
      members.push(parser.member());
      parser.separator();
    }
    return members;
  });
}
