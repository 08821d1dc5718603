// A value that many parts of the page show: replaced as a whole, never changed in place.
import { useLayoutEffect, useState } from "preact/hooks";

export class Store<T> {
  private readonly listeners = new Set<() => void>();
  constructor(private value: T) {}

  get(): T {
    return this.value;
  }

  update(change: (value: T) => T): void {
    const next = change(this.value);
    if (Object.is(next, this.value)) return;
    this.value = next;
    for (const listener of [...this.listeners]) listener();
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

// Draws the part again whenever the value is replaced.
export function useStore<T>(store: Store<T>): T {
  const [seen, show] = useState({ value: store.get() });
  useLayoutEffect(() => {
    const look = () => show((old) => (Object.is(old.value, store.get()) ? old : { value: store.get() }));
    look();
    return store.subscribe(look);
  }, [store]);
  return seen.value;
}
