/** The machine a result was made on, and how much of it others were using meanwhile. */
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { pause } from '../../netns/wait.js';
import { sampleCpu, usageBetween } from './cpu.js';

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly system: string;
  readonly node: string;
  /** Share of the machine that was in use before the bench began, 0 to 1. */
  readonly background: number;
}

const BACKGROUND_MS = 1000;

function systemName(): string {
  const found = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'));
  return found?.[1] ?? 'Linux';
}

/** Looks at the machine for a second, so that a result says whether it was alone. */
export async function describeMachine(): Promise<Machine> {
  const before = sampleCpu([]);
  await pause(BACKGROUND_MS);
  const all = cpus();
  return {
    processor: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryBytes: totalmem(),
    kernel: release(),
    system: systemName(),
    node: process.version,
    background: usageBetween(before, sampleCpu([])).machine,
  };
}
