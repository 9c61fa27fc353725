/** A function that is told of an event. */
export type Listener<Arguments extends unknown[]> = (...args: Arguments) => void;

/**
 * Typed events: `Events` maps each event's name to the arguments its listeners get.
 *
 * Listeners are called in the order in which they were added. One that throws is reported as an uncaught error and
 * doesn't keep the others from being called.
 */
export class Emitter<Events extends { [Name in keyof Events]: unknown[] }> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();
  readonly #everything = new Set<Listener<[keyof Events]>>();

  /** Calls `listener` at every event of this name until the returned function is called. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener as Listener<never>);
    return () => this.off(name, listener);
  }

  /** Calls `listener` at the next event of this name only. */
  once<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    const stop = this.on(name, (...args) => {
      stop();
      listener(...args);
    });
    return stop;
  }

  /** Undoes {@link on}. */
  off<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): void {
    this.#listeners.get(name)?.delete(listener as Listener<never>);
  }

  /** Calls `listener` with the name of every event, after the event's own listeners. For views that redraw at any change. */
  onAny(listener: Listener<[keyof Events]>): () => void {
    this.#everything.add(listener);
    return () => this.#everything.delete(listener);
  }

  protected emit<Name extends keyof Events>(name: Name, ...args: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      call(() => (listener as unknown as Listener<Events[Name]>)(...args));
    }
    for (const listener of [...this.#everything]) {
      call(() => listener(name));
    }
  }
}

function call(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
