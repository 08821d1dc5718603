// Conversations in the browser's IndexedDB: nothing of them is kept anywhere else.
import type { Conversation } from "./tree.ts";

const storeName = "conversations";

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser's storage failed"));
  });
}

let database: Promise<IDBDatabase> | null = null;

function open(): Promise<IDBDatabase> {
  if (!database) {
    const request = indexedDB.open("lathe", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(storeName, { keyPath: "id" });
    database = done(request);
  }
  return database;
}

async function store(mode: IDBTransactionMode): Promise<IDBObjectStore> {
  return (await open()).transaction(storeName, mode).objectStore(storeName);
}

export async function loadAll(): Promise<Conversation[]> {
  return (await done((await store("readonly")).getAll())) as Conversation[];
}

export async function save(conversation: Conversation): Promise<void> {
  await done((await store("readwrite")).put(conversation));
}

export async function remove(id: string): Promise<void> {
  await done((await store("readwrite")).delete(id));
}
