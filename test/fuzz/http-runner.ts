/** Runs the cases of http-requests.ts and http-responses.ts over sockets, and compares what either end has got. */
import type { Socket } from 'node:net';
import { expect } from 'vitest';
import { Harness, until } from '../../node/http/harness.props.js';
import { requestsOf, STORED, type RequestCase } from './http-requests.js';
import { responseOf, type ResponseCase } from './http-responses.js';
import { readRequests, readResponses, statusOf, type WireMessage } from './http-wire.js';
import { countIn, type Random } from './random.js';

const REFUSALS = [400, 413, 431, 501, 505];
/** Nothing that is waited for takes as long. */
const PATIENCE_MS = 5000;
/** One connection of many is sent in pieces. */
const PIECES = 4;

const targetOf = ({ start }: WireMessage): string =>
  (start.split(' ')[1] ?? '').replace(/^http:\/\/[^/]*/, '');

const piecesOf = (random: Random): number => (random.once(PIECES) ? 1 + random.below(3) : 0);

/** Text, cut so many times, each piece in a segment of its own. */
async function send(socket: Socket, text: string, cutting: number, random: Random): Promise<void> {
  const cuts = Array.from({ length: cutting }, () => random.below(text.length + 1)).sort((a, b) => a - b);
  let at = 0;
  for (const cut of [...cuts, text.length]) {
    if (socket.destroyed) return;
    socket.write(text.slice(at, cut), 'latin1');
    at = cut;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function within(event: Promise<void>, what: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited for ${what}`)), PATIENCE_MS);
  });
  await Promise.race([event, late]).finally(() => clearTimeout(timer));
}

/** What a client hears until the other side ends, cuts, or `enough` of it is there. */
class Ear {
  readonly socket: Socket;
  text = '';
  over = false;
  readonly #over: Promise<void>;
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1');
      this.#wake();
    });
    this.#over = new Promise((resolve) => {
      const ended = (): void => {
        this.over = true;
        this.#wake();
        resolve();
      };
      socket.once('end', ended).once('close', ended);
    });
  }

  /** Ends this side, and waits for the other. */
  async end(): Promise<void> {
    this.socket.end();
    await within(this.#over, 'the other side to end');
    this.socket.destroy();
  }

  async hear(enough: (text: string) => boolean): Promise<void> {
    while (!this.over && !enough(this.text)) {
      await within(new Promise<void>((resolve) => (this.#wake = resolve)), 'more');
    }
  }
}

/** A connection to the origin. */
interface Leg {
  text: string;
  answered: number;
  closed: boolean;
}

/** Requests: what reaches the origin is what the client meant, and no more. */
export class RequestFuzz {
  readonly h = new Harness();
  readonly #random: Random;
  readonly #legs = new Set<Leg>();
  /** The requests of this case and the one before, some of which may still be on their way. */
  readonly #cases = new Map<number, readonly RequestCase[]>();
  #front = 0;
  /** How often each outcome was met. */
  readonly seen = new Map<string, number>();

  constructor(random: Random) {
    this.#random = random;
  }

  async open(): Promise<void> {
    const origin = await this.h.rawOrigin((socket) => this.#serve(socket));
    this.#front = await this.h.front(origin);
  }

  /** Answers each request, once it is there to its end, with its target. */
  #serve(socket: Socket): void {
    const leg: Leg = { text: '', answered: 0, closed: false };
    this.#legs.add(leg);
    socket.on('data', (chunk: Buffer) => {
      leg.text += chunk.toString('latin1');
      const whole = readable(leg.text).filter(({ complete }) => complete);
      for (; leg.answered < whole.length; leg.answered++) {
        const target = targetOf(whole[leg.answered] as WireMessage);
        const storable = target === STORED ? 'Cache-Control: max-age=86400\r\n' : '';
        const head = `HTTP/1.1 200 OK\r\n${storable}Content-Length: ${target.length}\r\n\r\n`;
        socket.write(head + target, 'latin1');
      }
    });
    socket.on('end', () => socket.end()).once('close', () => (leg.closed = true));
  }

  /** @throws with the case in the message. */
  async run(number: number): Promise<void> {
    const requests = requestsOf(number, this.#random);
    this.#cases.set(number, requests);
    this.#cases.delete(number - 2);
    const ear = new Ear(this.h.connect(this.#front, ''));
    try {
      const alone = this.#random.once(2) && requests[0]?.kind === 'good' ? 1 : 0;
      await this.#say(ear, requests.slice(0, alone));
      await this.#hear(ear, requests, alone);
      await this.#say(ear, requests.slice(alone));
      await this.#checkAnswers(ear, requests);
      await this.#checkOrigin();
    } catch (cause) {
      const shorten = (text: string): string => text.slice(0, 500);
      const sent = JSON.stringify(
        [...this.#cases].map(([which, list]) => [
          which,
          list.map(({ what, bytes }) => [what, shorten(bytes)]),
        ]),
        null,
        1,
      );
      const got = JSON.stringify([...this.#legs].map(({ text }) => shorten(text)));
      const heard = JSON.stringify(shorten(ear.text));
      throw new Error(`case ${number}\nsent ${sent}\norigin ${got}\nclient ${heard}`, { cause });
    }
  }

  #say(ear: Ear, requests: readonly RequestCase[]): Promise<void> {
    const text = requests.map(({ bytes }) => bytes).join('');
    return send(ear.socket, text, piecesOf(this.#random), this.#random);
  }

  /** The answers that have come when there are `wanted` of them, or the other side has ended. */
  async #hear(ear: Ear, requests: readonly RequestCase[], wanted: number): Promise<WireMessage[]> {
    const methods = requests.map(({ method }) => method);
    const answers = (): WireMessage[] => readResponses(ear.text, methods).filter(({ complete }) => complete);
    await ear.hear(() => answers().length >= wanted);
    return answers();
  }

  /** What the client gets: the answers to what stands before the first request that is not good, in order, and maybe a refusal. */
  async #checkAnswers(ear: Ear, requests: readonly RequestCase[]): Promise<void> {
    const good = goodOf(requests);
    const broken = requests[good.length];
    const wanted = good.length + (broken === undefined ? 0 : 1);
    await this.#hear(ear, requests, wanted);
    await ear.end();
    const heard = await this.#hear(ear, requests, wanted);
    for (const [index, { body }] of heard.slice(0, good.length).entries())
      expect(body).toBe(good[index]?.target);
    if (broken === undefined) expect(heard).toHaveLength(good.length);
    const [refusal, ...more] = heard.slice(good.length);
    expect(more).toEqual([]);
    if (refusal !== undefined) {
      expect(REFUSALS).toContain(statusOf(refusal));
      expect(refusal.fields.get('connection')).toEqual(['close']);
    }
    const outcome = refusal === undefined ? 'cut' : statusOf(refusal);
    countIn(this.seen, broken === undefined ? 'all good' : `${broken.what}: ${outcome}`);
  }

  /** Every request that has come was meant so, and one that cannot come to its end takes its connection with it. */
  async #checkOrigin(): Promise<void> {
    for (const leg of this.#legs) {
      await until(() => leg.closed || readRequests(leg.text).every(({ complete }) => complete));
      for (const request of readRequests(leg.text)) this.#checkArrived(request);
      if (leg.closed) this.#legs.delete(leg);
      leg.text = '';
      leg.answered = 0;
    }
  }

  #checkArrived(request: WireMessage): void {
    if (targetOf(request) === STORED) return;
    const [, number, index] = /^\/m(\d+)-(\d+)$/.exec(targetOf(request)) ?? [];
    const requests = this.#cases.get(Number(number));
    const sent = requests?.[Number(index)];
    if (requests === undefined || sent === undefined) throw new Error(`nobody asked for ${request.start}`);
    const good = goodOf(requests);
    expect(request.start.replace('http://example.test', '')).toBe(`${sent.method} ${sent.target} HTTP/1.1`);
    if (request.complete) {
      expect(Number(index)).toBeLessThan(good.length);
      expect(request.body).toBe(sent.body);
    } else {
      expect(Number(index)).toBeLessThanOrEqual(good.length);
      expect(sent.kind).not.toBe('bad');
    }
  }
}

/** What stands before the first that is not good. */
function goodOf(requests: readonly RequestCase[]): readonly RequestCase[] {
  const broken = requests.findIndex(({ kind }) => kind !== 'good');
  return broken < 0 ? requests : requests.slice(0, broken);
}

/** What there is of the requests in a leg; the check at the end says what is wrong with the rest. */
function readable(text: string): WireMessage[] {
  try {
    return readRequests(text);
  } catch {
    return [];
  }
}

/** Responses: each request gets its own, or none. */
export class ResponseFuzz {
  readonly h = new Harness();
  readonly #random: Random;
  #front = 0;
  #scripted: ResponseCase | undefined;
  readonly seen = new Map<string, number>();

  constructor(random: Random) {
    this.#random = random;
  }

  async open(): Promise<void> {
    const origin = await this.h.rawOrigin((socket) => this.#serve(socket));
    this.#front = await this.h.front(origin);
  }

  /** The first request of a case gets what the case says, every other one its own target. */
  #serve(socket: Socket): void {
    let heard = '';
    let answered = 0;
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString('latin1');
      const requests = readRequests(heard);
      for (; answered < requests.length; answered++) this.#answer(socket, requests[answered] as WireMessage);
    });
    socket.on('end', () => socket.end());
  }

  #answer(socket: Socket, request: WireMessage): void {
    const scripted = this.#scripted;
    this.#scripted = undefined;
    if (scripted !== undefined) {
      // What comes behind a response when the next request is on its way is an answer to that, for all that anybody can tell.
      const pieces = scripted.kind === 'either' ? 0 : piecesOf(this.#random);
      void send(socket, scripted.bytes, pieces, this.#random).then(() => scripted.close && socket.end());
      return;
    }
    const target = targetOf(request);
    const head = `HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: ${target.length}\r\n\r\n`;
    socket.write(request.start.startsWith('HEAD') ? head : head + target);
  }

  async run(number: number): Promise<void> {
    const one = responseOf(number, this.#random);
    const way = this.#wayOf(one);
    const first = `/r${number}-1`;
    const texts: string[] = [];
    try {
      const ear = new Ear(this.h.connect(this.#front, ''));
      const ask = (method: string, target: string): void => {
        const length = method === 'POST' ? 'Content-Length: 0\r\n' : '';
        if (!ear.over)
          ear.socket.write(`${method} ${target} HTTP/1.1\r\nHost: example.test\r\n${length}\r\n`);
      };
      if (way === 'front') await this.#prime(ear, ask, number);
      this.#scripted = one;
      const methods = [way === 'client' ? 'POST' : one.method, 'GET'];
      ask(methods[0] ?? '', first);
      const answers = (): WireMessage[] => readResponses(ear.text, methods);
      await ear.hear(() => answers().some(({ complete, fields }) => complete && this.#ended(fields, ear)));
      const closes = ear.over || one.close;
      if (!closes) {
        ask('GET', `/r${number}-2`);
        await ear.hear(() => answers().length > 1 && answers()[1]?.complete === true);
      }
      await ear.end();
      texts.push(ear.text);
      this.#checkFirst(one, first, answers()[0], ear.over);
      if (answers().length > 1) expect(answers()[1]?.body).toBe(`/r${number}-2`);
      for (const target of [first, `/r${number}-2`]) texts.push(await this.#clean(one, target));
    } catch (cause) {
      const bytes = JSON.stringify(one.bytes.slice(0, 600));
      throw new Error(
        `case ${number} (${way}): ${one.what}\norigin ${bytes}\nclients ${JSON.stringify(texts)}`,
        {
          cause,
        },
      );
    }
  }

  /**
   * Who reads the response: Node's client does where a request must not be sent twice, a leg does for other requests, and for those
   * that the front takes, which are like one before them on a connection.
   */
  #wayOf(one: ResponseCase): 'client' | 'leg' | 'front' {
    // A request that is not sent again would show its client the end that a repeated one does not.
    const mayEnd = one.kind === 'either' && one.close;
    const ways = ['leg', 'front', ...(one.method === 'GET' && !mayEnd ? ['client'] : [])] as const;
    return this.#random.pick(ways) as 'client' | 'leg' | 'front';
  }

  /** A request like the one to come is answered. */
  async #prime(ear: Ear, ask: (method: string, target: string) => void, number: number): Promise<void> {
    ask('GET', `/p${number}`);
    await ear.hear(() => readResponses(ear.text, ['GET'])[0]?.complete === true);
    ear.text = '';
  }

  /** A response without a length ends with its connection. */
  #ended(fields: WireMessage['fields'], ear: Ear): boolean {
    return (
      ear.over ||
      fields.has('content-length') ||
      fields.has('transfer-encoding') ||
      /^HTTP\/1.1 (?:204|304)/.test(ear.text)
    );
  }

  #checkFirst(one: ResponseCase, target: string, answer: WireMessage | undefined, over: boolean): void {
    const status = answer?.complete === true ? statusOf(answer) : 0;
    if (one.kind === 'good') {
      expect([200, 204]).toContain(status);
      expect(answer?.body).toBe(one.body);
    } else if (one.kind === 'bad') {
      expect([0, 502]).toContain(status);
      if (status === 0) expect(over).toBe(true);
    } else {
      // Its own, nothing, or what the origin says when it is asked again.
      expect(['', one.body, target]).toContain(answer?.body ?? '');
    }
    countIn(this.seen, `${one.what}: ${status === 0 ? 'cut' : status}`);
  }

  /** Another client asks the same: it gets what the origin says of it, now or before, and nothing else. */
  async #clean(one: ResponseCase, target: string): Promise<string> {
    const ear = new Ear(
      this.h.connect(
        this.#front,
        `GET ${target} HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n`,
      ),
    );
    await ear.hear(() => false);
    await ear.end();
    const [answer] = readResponses(ear.text, ['GET']);
    const bodies = one.kind === 'bad' ? [target] : [target, one.body];
    expect(bodies).toContain(answer?.body);
    expect(answer && statusOf(answer)).toBe(200);
    expect(answer?.fields.has('x-evil')).toBe(false);
    expect(answer?.fields.has('set-cookie')).toBe(false);
    return ear.text;
  }
}
