/* libFuzzer target: a small model and a request, both bent by the input, run where every buffer has its exact size.
 *
 * The input is a stream of bytes; where it ends, zeros follow.  It says which 32-bit words of the model's header, of its
 * layer table and of the whole image are replaced and by what, then what the request is.  A model that the check refuses
 * ends the run; one that it accepts must not make the kernel touch a byte outside its buffers.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.c"

typedef struct {
    const uint8_t *at, *end;
} Stream;

static uint32_t take(Stream *s, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint32_t)(s->at < s->end ? *s->at++ : 0) << (8 * i);
    return value;
}

/* `count` numbers that start from the stream and go on from a generator seeded by it. */
static void *numbers(Stream *s, int64_t count, int bytes) {
    uint8_t *out = malloc(count * bytes ? (size_t)(count * bytes) : 1);
    uint64_t state = take(s, 4);
    for (int64_t i = 0; i < count * bytes; i++)
        out[i] = s->at < s->end ? *s->at++ : (uint8_t)random_number(&state, 127);
    return out;
}

static int64_t address(const void *of) { return (int64_t)(uintptr_t)of; }

/* A number that is often one at an edge. */
static int32_t edge(Stream *s) {
    static const int32_t edges[] = {0, 1, -1, 15, 16, 17, 31, 62, 63, 64, 1024, 1 << 20, INT32_MAX, INT32_MIN};
    uint32_t which = take(s, 1);
    return which < sizeof edges / sizeof *edges ? edges[which] : which < 128 ? (int32_t)take(s, 1) : (int32_t)take(s, 4);
}

static void bend_model(Stream *s, Model *m, int64_t size) {
    const int32_t layers = m->layer_table / 4, layer_words = m->layers * (int32_t)(sizeof(Layer) / 4);
    for (uint32_t left = take(s, 1) % 8; left; left--) {
        uint32_t kind = take(s, 1) % 4, word = take(s, 3);
        int32_t at = kind == 0   ? (int32_t)(word % (sizeof(Model) / 4))
                     : kind == 1 ? layers + (int32_t)(word % (uint32_t)layer_words)
                                 : (int32_t)(word % (uint32_t)(size / 4));
        ((int32_t *)m)[at] = kind == 3 ? ((int32_t *)m)[at] + (int32_t)take(s, 1) - 128 : edge(s);
    }
}

static void run_request(Stream *s, const Model *m, int64_t size, int64_t width, int64_t cells) {
    int64_t texts = 1 + take(s, 1) % 6, rows = 0;
    int32_t *lengths = malloc((size_t)texts * 4);
    for (int64_t t = 0; t < texts; t++) {
        lengths[t] = (int32_t)(take(s, 1) % 52); /* also 0, and more than the positions of most models */
        if (lengths[t] > 48) lengths[t] = edge(s);
        if (lengths[t] > 0 && lengths[t] <= 512) rows += lengths[t];
    }
    if (take(s, 1) == 7) rows += edge(s) % 64;
    int64_t held = rows > 0 ? rows : 0, bytes = zenso_workspace(address(m), size, width, rows, cells);
    if (bytes >= 0) {
        int64_t room = take(s, 1) == 7 ? bytes - 1 : bytes;
        void *words = numbers(s, held * width, 2), *weights = numbers(s, held, 4), *centres = numbers(s, cells * width, 2);
        int32_t *shifts = malloc((size_t)held * 4 + 1);
        for (int64_t r = 0; r < held; r++) shifts[r] = (int32_t)(take(s, 1) % 17);
        void *workspace = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
        void *pooled = malloc((size_t)(texts * width * 2)), *tokens = malloc((size_t)(held * width * 2 + 1));
        void *slots = malloc((size_t)(texts * cells * width * 4 + 1));
        memset(workspace, 0xA5, (size_t)bytes);
        Request q = {.model = address(m), .workspace = address(workspace), .room = room, .texts = texts, .rows = rows,
                     .lengths = address(lengths), .words = address(words), .word_shifts = address(shifts),
                     .weights = address(weights), .want = take(s, 1) & 15, .pooled = address(pooled),
                     .tokens = address(tokens), .cells = address(centres), .cell_count = cells, .slots = address(slots)};
        zenso_encode(address(&q));
        void *all[] = {words, weights, centres, shifts, workspace, pooled, tokens, slots};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    }
    free(lengths);
}

static void run_soft_float(Stream *s) {
    int64_t count = take(s, 1) % 40;
    void *a = numbers(s, count, 8), *b = numbers(s, count, 8), *out = malloc((size_t)count * 8 + 1);
    zenso_soft_f64(take(s, 1) % 7, address(a), address(b), address(out), count);
    zenso_normalise_f32(address(a), address(out), count);
    zenso_quantise_f32(address(a), address(out), count);
    free(a), free(b), free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char *model;
    static int64_t model_size;
    if (!model) {
        uint64_t state = 1;
        model = malloc(2000000);
        random_model(model, &model_size, &state);
    }
    Stream s = {data, data + size};
    if (take(&s, 1) % 8 == 0) {
        run_soft_float(&s);
        return 0;
    }
    char *image = malloc((size_t)model_size);
    memcpy(image, model, (size_t)model_size);
    bend_model(&s, (Model *)image, model_size);
    int64_t width = TEST_HIDDEN;
    if (take(&s, 1) < 32) width = ((Model *)image)->hidden; /* the artifact and its image agree on a bent width */
    if (width >= 0 && width <= 1 << 16) run_request(&s, (Model *)image, model_size, width, take(&s, 1) % 9);
    free(image);
    return 0;
}
