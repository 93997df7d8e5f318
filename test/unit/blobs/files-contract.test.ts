import t from 'tap';
import { openTestStore } from '../../support/store.ts';
import { blobStoreContract } from './contract.ts';

blobStoreContract(t, 'files', openTestStore);
