import { createClient } from 'millrace/client';
import { MillraceProvider } from 'millrace/react';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { AccountsPage } from './accounts.tsx';

const client = createClient({ url: '/graphql', connectionParams: { client: 'bank-screen' } });
const root = document.getElementById('root');
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <MillraceProvider client={client}>
        <AccountsPage />
      </MillraceProvider>
    </StrictMode>,
  );
}
