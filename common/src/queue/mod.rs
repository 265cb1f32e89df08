//! SQS: what is put on the queues, and how a batch is taken from them.
