import { METHODS } from 'node:http';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { classify } from './classify.js';

const of = (text: string): string => classify(Buffer.from(text, 'latin1'));

describe('classify', () => {
  it.each([
    'GET / HTTP/1.1\r\n',
    'GET /a?b=%20#c HTTP/1.0\r\n',
    '\r\nPOST /x HTTP/1.1\r\nHost: a',
    'OPTIONS * HTTP/1.1\r\n',
    'GET http://a/b HTTP/1.1\r\n',
    'GET HTTPS://a/b HTTP/1.1\r\n',
    'CONNECT a.example:443 HTTP/1.1\r\n',
    'CONNECT [2001:db8::1]:443 HTTP/1.1\r\n',
    'GET /caf\xc3\xa9 HTTP/1.1\r\n',
  ])('takes %j', (text) => expect(of(text)).toBe('http'));

  it.each([
    ['TLS', '\x16\x03\x01'],
    ['SSH', 'SSH-2.0-x\r\n'],
    ['the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['HTTP/0.9', 'GET /\r\n'],
    ['HTTP/1.2', 'GET / HTTP/1.2\r\n'],
    ['a bare LF, which the parser refuses', 'GET / HTTP/1.1\n'],
    ['SIP', 'OPTIONS sip:a SIP/2.0\r\n'],
    ['RTSP', 'OPTIONS rtsp://a RTSP/1.0\r\n'],
    ['RTSP for all', 'OPTIONS * RTSP/1.0\r\n'],
    ['SMTP', 'EHLO a\r\n'],
    ['lower case', 'get / HTTP/1.1\r\n'],
    ['an unknown method', 'FROB / HTTP/1.1\r\n'],
    ['a method that only begins like one', 'GETX'],
    ['a star with GET', 'GET * HTTP/1.1\r\n'],
    ['two spaces', 'GET  / HTTP/1.1\r\n'],
    ['a zero byte', 'GET /\0 HTTP/1.1\r\n'],
    ['a tab', 'GET\t/ HTTP/1.1\r\n'],
    ['8 KiB without an end', `GET /${'x'.repeat(8192)}`],
    ['many empty lines', '\r\n\r\n\r\n'],
  ])('leaves %s', (_name, text) => expect(of(text)).toBe('other'));

  it('needs more for every proper prefix of a request line, and nothing after it', () => {
    const target = fc.stringMatching(/^\/[!-~]{0,40}$/);
    fc.assert(
      fc.property(fc.constantFrom(...METHODS.filter((m) => m !== 'CONNECT')), target, (method, path) => {
        const line = `${method} ${path} HTTP/1.1\r\n`;
        for (let length = 0; length < line.length; length++)
          expect(of(line.slice(0, length))).toBe('need-more');
        expect(of(line)).toBe('http');
      }),
    );
  });

  it('never throws, and never takes back "other" when more arrives', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.uint8Array({ maxLength: 64 }), (head, tail) => {
        const first = classify(head);
        if (first !== 'need-more') expect(classify(Buffer.concat([head, tail]))).toBe(first);
      }),
    );
  });
});
