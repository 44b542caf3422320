/** What the origin tells about itself, one JSON object a line. */
export type OriginEvent =
  | { readonly event: 'ready'; readonly http: number; readonly banner: number; readonly bulk: number }
  | RequestEvent
  | {
      readonly event: 'connection';
      readonly service: 'banner' | 'bulk';
      readonly peer: string;
      readonly bytes: number;
    }
  | { readonly event: 'unusual'; readonly what: string; readonly peer: string };

export interface RequestEvent {
  readonly event: 'request';
  readonly method: string;
  readonly path: string;
  /** Address of the TCP peer. */
  readonly peer: string;
  readonly status: number;
  /** Body bytes received with the request. */
  readonly received: number;
  /** Whether the response was handed to the kernel completely. */
  readonly complete: boolean;
  readonly via: string | undefined;
}

/** The events in an origin's output; lines that are cut short (it is still writing) are left out. */
export function parseOriginLog(text: string): OriginEvent[] {
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as OriginEvent);
}

export function requestsOf(events: readonly OriginEvent[], path?: string): RequestEvent[] {
  return events.filter(
    (event): event is RequestEvent =>
      event.event === 'request' && (path === undefined || event.path === path),
  );
}
