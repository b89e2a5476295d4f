/* A model with attention for tests that run in the repository's root. cmocka's headers come
 * first. */
#ifndef ATTENTION_MODEL_H
#define ATTENTION_MODEL_H

#include <string.h>

#include "files/safetensors.h"

/* A model with attention, under which the network trains on other parameters than it saves: the one
 * of a golden trace, written to a file. */
static void write_attention_model(const char *path)
{
    st_file *trace = st_open("tests/golden/trace-many-tensors.safetensors", NULL);
    assert_non_null(trace);
    st_writer *writer = st_writer_new();
    st_writer_metadata(writer, "format", "hrnn-1");
    st_writer_metadata(writer, "attention", "1");
    st_writer_metadata(writer, "min_log_lr", st_metadata(trace, "min_log_lr"));
    st_writer_metadata(writer, "max_log_lr", st_metadata(trace, "max_log_lr"));
    st_writer_metadata(writer, "initial_lr", "1e-3");
    for (int data = 0; data < 2; data++) {
        for (int i = 0; i < st_count(trace); i++) {
            const st_tensor *t = st_get(trace, i);
            if (strncmp(t->name, "model.", 6) != 0) continue;
            if (data)
                assert_int_equal(st_writer_data(writer, t->data, t->bytes, NULL), OPT_OK);
            else
                st_writer_tensor(writer, t->name + 6, t->type, t->dims, t->shape);
        }
        if (!data) assert_int_equal(st_writer_begin(writer, path, 0, NULL), OPT_OK);
    }
    assert_int_equal(st_writer_end(writer, NULL), OPT_OK);
    st_writer_free(writer);
    st_close(trace);
}

#endif
