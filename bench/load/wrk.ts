/** The HTTP load of the cache bench: wrk, one thread, connections that are kept. */
import { TpotError } from '../../core/errors.js';

export const WRK_PACKAGE = 'wrk';

/** What wrk found; times in microseconds. */
export interface WrkOutcome {
  readonly requests: number;
  readonly seconds: number;
  /** Bytes read, header sections included. */
  readonly bytes: number;
  /** Connections that failed, time-outs, and statuses above 399. */
  readonly failed: number;
  readonly p50: number;
  readonly p99: number;
}

/** With an argument, every request asks for another URL that begins with it. */
export const WRK_SCRIPT = `init = function(args)
  local prefix, count, tail = args[1], 0, ""
  if prefix == nil then return end
  for name, value in pairs(wrk.headers) do tail = tail .. name .. ": " .. value .. "\\r\\n" end
  request = function()
    count = count + 1
    return "GET " .. prefix .. count .. " HTTP/1.1\\r\\n" .. tail .. "\\r\\n"
  end
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"seconds":%f,"bytes":%d,"failed":%d,"p50":%f,"p99":%f}\\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
`;

/** Roughly what a browser sends with each request. */
export const BROWSER_FIELDS: readonly string[] = [
  'Host: www.example.test',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
  'Accept-Language: en-US,en;q=0.5',
  'Accept-Encoding: gzip, deflate',
];

export interface WrkRun {
  readonly address: string;
  readonly path: string;
  /** Ask for another URL each time. */
  readonly prefix?: string | undefined;
  readonly connections: number;
  readonly seconds: number;
  readonly script: string;
}

export function wrkArguments({ address, path, prefix, connections, seconds, script }: WrkRun): string[] {
  const fields = BROWSER_FIELDS.flatMap((field) => ['-H', field]);
  const load = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '--timeout', '10s'];
  const rest = prefix === undefined ? [] : ['--', prefix];
  return [...load, '-s', script, ...fields, `http://${address}${path}`, ...rest];
}

/** @throws TpotError `load-failed` when the output has no result. */
export function parseWrk(output: string): WrkOutcome {
  const line = output.split('\n').find((one) => one.startsWith('{'));
  if (line === undefined)
    throw new TpotError('load-failed', `wrk said no result: ${output.trim().slice(-300)}`);
  return JSON.parse(line) as WrkOutcome;
}
