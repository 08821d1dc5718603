/* Lathe's C interface: load a model, turn text into tokens and back, generate with a callback, embed.
 *
 * Plain C (C89 and later) and C++. Every function that can fail says so by its return value; lathe_last_error() then
 * tells why, for the calling thread. Text is UTF-8, and always given with its length in bytes. A model may be used by
 * several threads at once.
 */
#ifndef LATHE_LATHE_H
#define LATHE_LATHE_H

#include <stddef.h>

#if defined(__GNUC__)
#define LATHE_API __attribute__((visibility("default")))
#else
#define LATHE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "0.1.0". */
LATHE_API const char* lathe_version(void);

/* Why the last failing call of this thread failed, on one line; empty when none has. Valid until the thread's next
 * call. */
LATHE_API const char* lathe_last_error(void);

/* ---- models ---- */

/* A model, ready to run. */
typedef struct lathe_model lathe_model;

/* Fill with lathe_load_options_init(), then change what should differ. */
typedef struct lathe_load_options {
  size_t struct_size;    /* set by init; later versions of the library read only what this version had */
  const char* device;    /* "cpu", "cuda" or "cuda:N" */
  int threads;           /* 0: every core this process may use */
  unsigned int context;  /* tokens a sequence may hold; 0: what the model was trained for */
  const char* kv_codec;  /* how cached keys and values are stored: "f16", "int8" or "f32" */
  const char* tokenizer; /* a tokenizer file to use instead of the model's own, or NULL */
} lathe_load_options;

LATHE_API void lathe_load_options_init(lathe_load_options* options);

/* Loads a .gguf, .safetensors, .lathe or llama2.c file, or a folder in Hugging Face layout. `options` may be NULL.
 * Returns NULL on failure. */
LATHE_API lathe_model* lathe_load(const char* path, const lathe_load_options* options);

/* Frees the model; NULL is allowed. No call on it may be under way. */
LATHE_API void lathe_free(lathe_model* model);

LATHE_API unsigned int lathe_context(const lathe_model* model);    /* tokens a sequence may hold */
LATHE_API unsigned int lathe_vocab_size(const lathe_model* model); /* number of token ids */
LATHE_API unsigned int lathe_embedding_size(const lathe_model* model);

/* ---- tokens ---- */

/* The ids of `text`: writes at most `capacity` of them to `ids` and returns how many there are, which may be more; -1
 * on failure. `ids` may be NULL when `capacity` is 0. With `special` not 0 the tokens that begin and end a text are
 * added, and control tokens spelled in the text count as such. */
LATHE_API long lathe_tokenize(const lathe_model* model, const char* text, size_t text_bytes, int special, int* ids,
                              size_t capacity);

/* The text of `count` ids: writes at most `capacity` bytes to `text` (no terminating zero) and returns how many there
 * are, which may be more; -1 on failure. */
LATHE_API long lathe_detokenize(const lathe_model* model, const int* ids, size_t count, char* text, size_t capacity);

/* ---- generation ---- */

/* Why generation ended. */
enum {
  LATHE_STOP_LENGTH = 0,   /* max_tokens reached */
  LATHE_STOP_EOS = 1,      /* the model ended the text */
  LATHE_STOP_STRING = 2,   /* one of stop[] appeared */
  LATHE_STOP_CONTEXT = 3,  /* the context is full */
  LATHE_STOP_CANCELLED = 4 /* the callback asked to stop */
};

/* Fill with lathe_generate_options_init(), then change what should differ. */
typedef struct lathe_generate_options {
  size_t struct_size;      /* set by init */
  unsigned int max_tokens; /* 128 */
  float temperature;       /* 0.8; 0: always the likeliest token */
  int top_k;               /* 40; 0: all */
  float top_p;             /* 0.95; 1: all */
  float min_p;             /* 0.05; 0: none */
  float repeat_penalty;    /* 1: none */
  unsigned long seed;      /* 0; the same seed gives the same text */
  int ignore_eos;          /* 0 */
  const char* const* stop; /* stop_count texts that end generation, zero-terminated; may be NULL */
  size_t stop_count;
} lathe_generate_options;

LATHE_API void lathe_generate_options_init(lathe_generate_options* options);

typedef struct lathe_generate_result {
  unsigned int prompt_tokens;
  unsigned int generated_tokens;
  int stop_reason; /* LATHE_STOP_... */
  double prefill_seconds;
  double decode_seconds;
} lathe_generate_result;

/* Called with every piece of text as it is generated: `bytes` of UTF-8, not zero-terminated. Return 0 to go on,
 * anything else to stop. */
typedef int (*lathe_text_callback)(const char* piece, size_t bytes, void* user);

/* Continues `prompt`. `options`, `on_text` and `result` may be NULL. Returns 0, or -1 on failure. */
LATHE_API int lathe_generate(lathe_model* model, const char* prompt, size_t prompt_bytes,
                             const lathe_generate_options* options, lathe_text_callback on_text, void* user,
                             lathe_generate_result* result);

/* ---- embeddings ---- */

/* The mean of the model's final hidden states over `text`, lathe_embedding_size() floats; of unit length with
 * `normalize` not 0. `capacity` is the room in `vector`, in floats. Returns 0, or -1 on failure. */
LATHE_API int lathe_embed(lathe_model* model, const char* text, size_t text_bytes, int normalize, float* vector,
                          size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
