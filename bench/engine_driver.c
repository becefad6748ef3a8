/* Run the kernel on a file of calls: its twin as a program, for processors that this machine emulates.
 *
 * engine_driver INPUT OUTPUT.  All numbers in both files are little-endian, those in memory are in the processor's own
 * order: every array is converted one number at a time, also where there is nothing to change, so that one path serves
 * all processors.
 *
 * INPUT: int64 image bytes, calls, cells; the model's image; int16[cells][hidden]; then for each call int64 want, texts,
 *        rows; int32 lengths[texts]; int16 words[rows][hidden]; int32 shifts[rows]; int32 weights[rows].
 * OUTPUT: of each call what it wants of pooled vectors, token states (int16) and slots (int16 of documents, int32 of
 *         queries), in this order.
 *
 * Prints the hash of the kernel's self-test, then a line for each call done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.c"

static FILE *input, *output;

static void fail(const char *what) {
    fprintf(stderr, "engine_driver: %s\n", what);
    exit(1);
}

/* Zeros that start at a multiple of 64. */
static char *buffer(int64_t size) {
    char *room = size < 0 ? NULL : aligned_alloc(64, (size_t)(size + 64) / 64 * 64);
    if (!room) fail("out of memory");
    return memset(room, 0, (size_t)(size + 64) / 64 * 64);
}

static uint64_t little_endian(const unsigned char *from, int bytes) {
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | from[i];
    return value;
}

static void convert(const char *from, char *to, int64_t count, int bytes) {
    for (int64_t i = 0; i < count; i++) {
        uint64_t value = little_endian((const unsigned char *)from + i * bytes, bytes);
        if (bytes == 2) ((uint16_t *)to)[i] = (uint16_t)value;
        else ((uint32_t *)to)[i] = (uint32_t)value;
    }
}

static char *read_bytes(int64_t size) {
    char *data = buffer(size);
    if (size && fread(data, 1, (size_t)size, input) != (size_t)size) fail("the input ends too early");
    return data;
}

static int64_t read_number(void) {
    unsigned char data[8];
    if (fread(data, 1, 8, input) != 8) fail("the input ends too early");
    return (int64_t)little_endian(data, 8);
}

static char *read_array(int64_t count, int bytes) {
    char *raw = read_bytes(count * bytes), *data = buffer(count * bytes);
    convert(raw, data, count, bytes);
    free(raw);
    return data;
}

static void write_number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) putc((int)(value >> (8 * i) & 255), output);
}

static void write_array(const char *data, int64_t count, int bytes) {
    for (int64_t i = 0; i < count; i++)
        write_number(bytes == 2 ? ((const uint16_t *)data)[i] : ((const uint32_t *)data)[i], bytes);
}

/* ---------------------------------------------------------------------------------------------------------------
 * The model's image: section by section, because only its structure tells 16-bit from 32-bit numbers
 * ------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *raw;
    char *image;
    int64_t size;
} ModelImage;

static void section(const ModelImage *m, int64_t at, int64_t count, int bytes) {
    if (at < 0 || at % bytes || count < 0 || at + count * bytes > m->size) fail("a section lies outside the model");
    convert(m->raw + at, m->image + at, count, bytes);
}

static void convert_norm(const ModelImage *m, const Norm *norm, int width) {
    section(m, norm->gain, width, 4);
    section(m, norm->bias, width, 4);
}

static void convert_linear(const ModelImage *m, const Linear *layer) {
    section(m, layer->weights, (int64_t)layer->inputs * layer->outputs, 2);
    section(m, layer->mantissa, layer->outputs, 4);
    section(m, layer->shift, layer->outputs / PANEL, 4);
    section(m, layer->bias, layer->outputs, 4);
}

static const Model *read_model(int64_t size) {
    ModelImage m = {read_bytes(size), buffer(size), size};
    section(&m, 0, sizeof(Model) / 4, 4);
    const Model *model = (const Model *)m.image;
    if (model->magic != MODEL_MAGIC) fail("the input holds no model");
    section(&m, model->position_table, (int64_t)model->positions * model->hidden, 4);
    section(&m, model->gelu_table, model->gelu_entries, 4);
    if (model->relative_bias) section(&m, model->relative_bias, (int64_t)model->heads * (2 * model->positions - 1), 4);
    convert_norm(&m, &model->embedding_norm, model->hidden);
    section(&m, model->layer_table, model->layers * (int64_t)sizeof(Layer) / 4, 4);
    const Layer *layers = (const Layer *)(m.image + model->layer_table);
    for (int l = 0; l < model->layers; l++) {
        convert_linear(&m, &layers[l].qkv);
        convert_linear(&m, &layers[l].attention_output);
        convert_linear(&m, &layers[l].up);
        convert_linear(&m, &layers[l].down);
        convert_norm(&m, &layers[l].attention_norm, model->hidden);
        convert_norm(&m, &layers[l].output_norm, model->hidden);
    }
    free((void *)m.raw);
    return model;
}

static int64_t address(const void *of) { return (int64_t)(uintptr_t)of; }

static void run_call(const Model *model, int64_t size, const char *cells, int64_t cell_count) {
    int64_t want = read_number(), texts = read_number(), rows = read_number(), width = model->hidden;
    int64_t room = zenso_workspace(address(model), size, width, rows, cell_count);
    if (room < 0) fail("the kernel does not run this model");
    char *lengths = read_array(texts, 4), *words = read_array(rows * width, 2);
    char *shifts = read_array(rows, 4), *weights = read_array(rows, 4), *workspace = buffer(room);
    char *pooled = buffer(texts * width * 2), *tokens = buffer(rows * width * 2);
    char *slots = buffer(texts * cell_count * width * 4);
    Request q = {.model = address(model), .workspace = address(workspace), .room = room, .texts = texts, .rows = rows,
                 .lengths = address(lengths), .words = address(words), .word_shifts = address(shifts),
                 .weights = address(weights), .want = want,
                 .pooled = address(pooled), .tokens = address(tokens), .cells = address(cells),
                 .cell_count = cell_count, .slots = address(slots)};
    if (zenso_encode(address(&q))) fail("the kernel refused a call");
    if (want & WANT_POOLED) write_array(pooled, texts * width, 2);
    if (want & WANT_TOKENS) write_array(tokens, rows * width, 2);
    if (want & WANT_DOCUMENT_SLOTS) write_array(slots, texts * cell_count * width, 2);
    if (want & WANT_QUERY_SLOTS) write_array(slots, texts * cell_count * width, 4);
    char *all[] = {lengths, words, shifts, weights, workspace, pooled, tokens, slots};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) free(all[i]);
}

int main(int count, char **arguments) {
    if (count != 3) fail("usage: engine_driver INPUT OUTPUT");
    input = fopen(arguments[1], "rb");
    output = fopen(arguments[2], "wb");
    if (!input || !output) fail("a file cannot be opened");
    const int64_t room = 2000000;
    char *scratch = buffer(room);
    printf("%lld\n", (long long)zenso_self_test(address(scratch), room));
    fflush(stdout);
    free(scratch);
    int64_t size = read_number(), calls = read_number(), cell_count = read_number();
    const Model *model = read_model(size);
    char *cells = read_array(cell_count * model->hidden, 2);
    for (int64_t call = 0; call < calls; call++) {
        run_call(model, size, cells, cell_count);
        printf("%lld\n", (long long)call + 1);
        fflush(stdout);
    }
    if (fclose(output)) fail("the output cannot be written");
    return 0;
}
