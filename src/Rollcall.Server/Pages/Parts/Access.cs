using System.Collections.Frozen;
using Microsoft.AspNetCore.Mvc.RazorPages;
using Rollcall.Patrons;
using Rollcall.SignIn;

namespace Rollcall.Server.Pages.Parts;

/// <summary>What somebody has to be for a route.</summary>
internal enum Need
{
    /// <summary>Everybody, signed in or not.</summary>
    Anyone,

    /// <summary>Whoever is signed in, in whichever district or in none.</summary>
    SignedIn,

    /// <summary>The operator of the installation.</summary>
    Operator,

    // From here on: at least this security group in the district.
    PatronLimited,
    StudentAide,
    Librarian,
    LibraryAdministrator,
    DistrictAdministrator,
}

/// <summary>
/// The one table of who may do what. A route that is not in it is refused to everybody, so a page that was forgotten is closed, not open.
/// <para>
/// To add a page, add a line for each of its handlers: the page's path under <c>Pages</c> as it stands in the tree, a blank, the HTTP method
/// and the handler's name as in the method (<c>OnPostSyncAsync</c> of <c>Pages/Index</c> is <c>/Index PostSync</c>; a page without handlers
/// has <c>Get</c>). An address mapped in <see cref="RollcallWeb"/> is written by its pattern: <c>/health/live Get</c>. A page shows a button only
/// if <c>Here.Can("/Index PostSync")</c>, and a link only if the page it leads to can be got.
/// </para>
/// <para>
/// What is open to <see cref="Need.Librarian"/> or less shows people of certain sites only: every query of such a page goes through
/// <see cref="Here.Sites"/> (null is all sites), and so do the records that its buttons act on. When in doubt, take
/// <see cref="Need.LibraryAdministrator"/>: it sees every site.
/// Security groups and site access are changed by District Administrators alone, wherever a record is edited: else a librarian makes an
/// administrator of themselves. Nor does anybody else change records above Patron: <see cref="PatronGuard"/> sees to it.
/// </para>
/// </summary>
internal static class Access
{
    private static readonly FrozenDictionary<string, Need> s_routes = new Dictionary<string, Need>(StringComparer.Ordinal)
    {
        // Without signing in.
        ["/SignIn Get"] = Need.Anyone,
        ["/SignIn Post"] = Need.Anyone,
        ["/SignIn GetPasskey"] = Need.Anyone,
        ["/SignIn PostPasskey"] = Need.Anyone,
        ["/SignInBegin Get"] = Need.Anyone,
        ["/SignInCallback Get"] = Need.Anyone,
        ["/SignOut Post"] = Need.Anyone,
        ["/Link Get"] = Need.Anyone,
        ["/Link Post"] = Need.Anyone,
        ["/Theme Get"] = Need.Anyone,
        ["/Theme Post"] = Need.Anyone,
        ["/Error *"] = Need.Anyone,
        ["/health/live Get"] = Need.Anyone,
        ["/health/ready Get"] = Need.Anyone,
        ["/favicon.ico Get"] = Need.Anyone,
        ["/assets/{print}/{**path} Get"] = Need.Anyone,
        ["/api/v1/health Get"] = Need.Anyone,
        ["/api/v1/openapi.json Get"] = Need.Anyone,

        // Oneself.
        ["/Account Get"] = Need.SignedIn,
        ["/Account PostPassword"] = Need.SignedIn,
        ["/Account PostSecondFactor"] = Need.SignedIn,
        ["/Account PostSecondFactorOn"] = Need.SignedIn,
        ["/Account PostSecondFactorOff"] = Need.SignedIn,
        ["/Account PostPasskey"] = Need.SignedIn,
        ["/Account PostPasskeyAdd"] = Need.SignedIn,
        ["/Account PostPasskeyName"] = Need.SignedIn,
        ["/Account PostPasskeyRemove"] = Need.SignedIn,
        ["/Account PostEnd"] = Need.SignedIn,
        ["/Account PostEndAll"] = Need.SignedIn,
        ["/Welcome Get"] = Need.SignedIn,
        ["/Me Get"] = Need.PatronLimited,

        // The installation.
        ["/Welcome PostDistrict"] = Need.Operator,
        ["/Welcome PostRefuse"] = Need.Operator,
        ["/Welcome PostTenant"] = Need.Operator,
        ["/Welcome PostTakeBack"] = Need.Operator,
        ["/Welcome PostPartnerKey"] = Need.Operator,
        ["/Welcome PostForgetKey"] = Need.Operator,
        ["/Welcome PostEnter"] = Need.Operator,
        ["/Welcome PostLeave"] = Need.Operator,

        // People of one's sites.
        ["/Aide Get"] = Need.StudentAide,
        ["/Patrons Get"] = Need.Librarian,
        ["/Patrons PostSave"] = Need.Librarian,
        ["/Patrons PostForget"] = Need.Librarian,
        ["/Patron Get"] = Need.Librarian,
        ["/Index Get"] = Need.Librarian,
        ["/Operations Get"] = Need.Librarian,
        ["/Operation Get"] = Need.Librarian,
        ["/operations/events Get"] = Need.Librarian,
        ["/Review Get"] = Need.Librarian,
        ["/Review PostLink"] = Need.Librarian,
        ["/Review PostCreate"] = Need.Librarian,
        ["/Review PostIgnore"] = Need.Librarian,
        ["/Review PostReopen"] = Need.Librarian,

        // A librarian of one site would see people of others here.
        ["/Patron PostSync"] = Need.LibraryAdministrator,
        ["/PatronEdit Get"] = Need.LibraryAdministrator,
        ["/PatronEdit Post"] = Need.LibraryAdministrator,
        ["/PatronExplain Get"] = Need.LibraryAdministrator,
        ["/PatronMerge Get"] = Need.LibraryAdministrator,
        ["/PatronMerge Post"] = Need.LibraryAdministrator,
        ["/PatronBulk Get"] = Need.LibraryAdministrator,
        ["/PatronBulk Post"] = Need.LibraryAdministrator,
        ["/PatronImport Get"] = Need.LibraryAdministrator,
        ["/PatronImport PostFile"] = Need.LibraryAdministrator,
        ["/PatronImport PostMatch"] = Need.LibraryAdministrator,
        ["/patron/export Get"] = Need.LibraryAdministrator,
        ["/Lists Get"] = Need.Librarian,
        ["/EndOfYear Get"] = Need.LibraryAdministrator,
        ["/About Get"] = Need.Librarian,

        // All sites: the sites themselves, syncs, holds, undo, imports, exports.
        ["/Sites Get"] = Need.LibraryAdministrator,
        ["/Index PostSync"] = Need.LibraryAdministrator,
        ["/Index PostPreview"] = Need.LibraryAdministrator,
        ["/Operation PostApprove"] = Need.LibraryAdministrator,
        ["/Operation PostDiscard"] = Need.LibraryAdministrator,
        ["/Operation PostCancel"] = Need.LibraryAdministrator,
        ["/Operation PostUndo"] = Need.LibraryAdministrator,
        ["/operations/{id:long}/download Get"] = Need.LibraryAdministrator,

        // Preferences, accounts, audit.
        ["/PatronErase Get"] = Need.DistrictAdministrator,
        ["/PatronErase Post"] = Need.DistrictAdministrator,
        ["/patron/data Get"] = Need.DistrictAdministrator,
        ["/Audit Get"] = Need.DistrictAdministrator,
        ["/Accounts Get"] = Need.DistrictAdministrator,
        ["/Accounts PostAdd"] = Need.DistrictAdministrator,
        ["/Accounts PostReset"] = Need.DistrictAdministrator,
        ["/Accounts PostLock"] = Need.DistrictAdministrator,
        ["/Accounts PostUnlock"] = Need.DistrictAdministrator,
        ["/Accounts PostEnd"] = Need.DistrictAdministrator,
        ["/Accounts PostFactor"] = Need.DistrictAdministrator,
        ["/Accounts PostRemove"] = Need.DistrictAdministrator,
        ["/Preferences/Tokens Get"] = Need.DistrictAdministrator,
        ["/Preferences/Tokens PostCreate"] = Need.DistrictAdministrator,
        ["/Preferences/Tokens PostRevoke"] = Need.DistrictAdministrator,
        ["/Site Get"] = Need.DistrictAdministrator,
        ["/Site Post"] = Need.DistrictAdministrator,
        ["/Preferences/Sis Get"] = Need.DistrictAdministrator,
        ["/Preferences/Sis PostOn"] = Need.DistrictAdministrator,
        ["/Preferences/Sis PostOff"] = Need.DistrictAdministrator,
        ["/Preferences/Service Get"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostConnect"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostTest"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostMatch"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostFind"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostSuggested"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostAddSites"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostUnmatch"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostNotServed"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostServe"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostRoles"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostMap"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostRead"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostRules"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostGrades"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostDaily"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostAside"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostPause"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostUnpause"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostResume"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostHolds"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostForget"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostSignIn"] = Need.DistrictAdministrator,
        ["/Preferences/Service PostClient"] = Need.Operator,
        ["/Preferences/Grades Get"] = Need.DistrictAdministrator,
        ["/Preferences/Grades Post"] = Need.DistrictAdministrator,
        ["/Preferences/Policies Get"] = Need.DistrictAdministrator,
        ["/Preferences/Policies Post"] = Need.DistrictAdministrator,
        ["/Preferences/Policies PostRemove"] = Need.DistrictAdministrator,
        ["/Preferences/Retention Get"] = Need.DistrictAdministrator,
        ["/Preferences/Retention Post"] = Need.DistrictAdministrator,
        ["/Preferences/Retention PostRun"] = Need.DistrictAdministrator,
        ["/Preferences/Notices Get"] = Need.DistrictAdministrator,
        ["/Preferences/Notices Post"] = Need.DistrictAdministrator,
        ["/Preferences/Notices PostTest"] = Need.DistrictAdministrator,
    }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>
    /// Routes of the REST API: who may take them with a token, and the scope that the token has to have. They show all sites, so none is open
    /// to less than a Library Administrator.
    /// </summary>
    private static readonly FrozenDictionary<string, (Need Need, TokenScopes Scope)> s_api = new Dictionary<string, (Need, TokenScopes)>(
        StringComparer.Ordinal
    )
    {
        // What the command itself needs stands in Commands/Remote.cs.
        ["/api/v1/commands Post"] = (Need.SignedIn, TokenScopes.None),
        ["/api/v1/districts Get"] = (Need.SignedIn, TokenScopes.None),
        ["/api/v1/districts Post"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/installation/audit Get"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/districts/{code}/tenants Post"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/districts/{code}/tenants/{tenantId} Delete"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/district Patch"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/sites Get"] = (Need.LibraryAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/sites Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/sites/{code} Patch"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/grades Get"] = (Need.LibraryAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/grades Put"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/policies Get"] = (Need.LibraryAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/policies/{code} Put"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/policies/{code} Delete"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/retention Get"] = (Need.DistrictAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/retention Patch"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/retention/run Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations Get"] = (Need.DistrictAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/integrations/{service} Get"] = (Need.DistrictAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/integrations/{service} Patch"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations/{service}/connect Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations/{service}/test Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/integrations/{service}/on Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations/{service}/off Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations/{service}/orgs Get"] = (Need.DistrictAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/integrations/{service}/readiness Get"] = (Need.DistrictAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/integrations/{service}/sites Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations/{service}/matches Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations/{service}/matches Delete"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations/{service}/not-served Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations/{service}/not-served Delete"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/operations Get"] = (Need.LibraryAdministrator, TokenScopes.OperationsRead),
        ["/api/v1/operations/sync Post"] = (Need.LibraryAdministrator, TokenScopes.OperationsWrite),
        ["/api/v1/operations/{id:long} Get"] = (Need.LibraryAdministrator, TokenScopes.OperationsRead),
        ["/api/v1/operations/{id:long}/log Get"] = (Need.LibraryAdministrator, TokenScopes.OperationsRead),
        ["/api/v1/operations/{id:long}/log.csv Get"] = (Need.LibraryAdministrator, TokenScopes.OperationsRead),
        ["/api/v1/operations/{id:long}/log.jsonl Get"] = (Need.LibraryAdministrator, TokenScopes.OperationsRead),
        ["/api/v1/operations/{id:long}/skips Get"] = (Need.LibraryAdministrator, TokenScopes.OperationsRead),
        ["/api/v1/operations/{id:long}/approve Post"] = (Need.LibraryAdministrator, TokenScopes.OperationsWrite),
        ["/api/v1/operations/{id:long}/discard Post"] = (Need.LibraryAdministrator, TokenScopes.OperationsWrite),
        ["/api/v1/operations/{id:long}/cancel Post"] = (Need.LibraryAdministrator, TokenScopes.OperationsWrite),
        ["/api/v1/operations/{id:long}/undo Post"] = (Need.LibraryAdministrator, TokenScopes.OperationsWrite),
        ["/api/v1/review Get"] = (Need.LibraryAdministrator, TokenScopes.ReviewRead),
        ["/api/v1/review/{id:int}/link Post"] = (Need.LibraryAdministrator, TokenScopes.ReviewWrite),
        ["/api/v1/review/{id:int}/create Post"] = (Need.LibraryAdministrator, TokenScopes.ReviewWrite),
        ["/api/v1/review/{id:int}/ignore Post"] = (Need.LibraryAdministrator, TokenScopes.ReviewWrite),
        ["/api/v1/review/{id:int}/reopen Post"] = (Need.LibraryAdministrator, TokenScopes.ReviewWrite),
        ["/api/v1/patrons Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/patrons Post"] = (Need.LibraryAdministrator, TokenScopes.PatronsWrite),
        ["/api/v1/patrons/import Post"] = (Need.LibraryAdministrator, TokenScopes.PatronsWrite),
        ["/api/v1/patrons/{barcode} Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/patrons/{barcode} Patch"] = (Need.LibraryAdministrator, TokenScopes.PatronsWrite),
        ["/api/v1/patrons/{barcode}/history Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/patrons/{barcode}/explain Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/patrons/{barcode}/merge Post"] = (Need.LibraryAdministrator, TokenScopes.PatronsWrite),
        ["/api/v1/patrons/{barcode}/data Get"] = (Need.DistrictAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/patrons/{barcode}/erasure Get"] = (Need.DistrictAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/patrons/{barcode}/erasure Post"] = (Need.DistrictAdministrator, TokenScopes.PatronsWrite),
        ["/api/v1/patrons/change Post"] = (Need.LibraryAdministrator, TokenScopes.PatronsWrite),
        ["/api/v1/patrons/removal Post"] = (Need.LibraryAdministrator, TokenScopes.PatronsWrite),
        ["/api/v1/patrons.csv Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/patrons.jsonl Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/patron-counts Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/lists/arrivals Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/lists/leavers Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/filters Get"] = (Need.LibraryAdministrator, TokenScopes.PatronsRead),
        ["/api/v1/filters Put"] = (Need.LibraryAdministrator, TokenScopes.PatronsWrite),
        ["/api/v1/filters/{name} Delete"] = (Need.LibraryAdministrator, TokenScopes.PatronsWrite),
        ["/api/v1/notices Get"] = (Need.DistrictAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/notices/settings Get"] = (Need.DistrictAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/notices/settings Patch"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/notices/test Post"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/integrations/classlink/sign-in Get"] = (Need.DistrictAdministrator, TokenScopes.PreferencesRead),
        ["/api/v1/integrations/classlink/sign-in Patch"] = (Need.DistrictAdministrator, TokenScopes.PreferencesWrite),
        ["/api/v1/classlink-application Get"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/classlink-application Patch"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/partner-key Get"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/partner-key Put"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/partner-key Delete"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/districts/{code}/tenant-request Delete"] = (Need.Operator, TokenScopes.Installation),
        ["/api/v1/audit Get"] = (Need.DistrictAdministrator, TokenScopes.AuditRead),
        ["/api/v1/accounts Get"] = (Need.DistrictAdministrator, TokenScopes.AccountsRead),
        ["/api/v1/tokens Get"] = (Need.DistrictAdministrator, TokenScopes.AccountsRead),

        // Whoever signs in with an account may do all that its group may: no token that may less opens one.
        ["/api/v1/accounts Post"] = (Need.DistrictAdministrator, AccessTokens.AllOfDistrict),
        ["/api/v1/accounts/{id:long}/password-link Post"] = (Need.DistrictAdministrator, AccessTokens.AllOfDistrict),
        ["/api/v1/accounts/{id:long}/lock Post"] = (Need.DistrictAdministrator, TokenScopes.AccountsWrite),
        ["/api/v1/accounts/{id:long}/unlock Post"] = (Need.DistrictAdministrator, AccessTokens.AllOfDistrict),
        ["/api/v1/accounts/{id:long}/sessions Delete"] = (Need.DistrictAdministrator, TokenScopes.AccountsWrite),
        ["/api/v1/accounts/{id:long}/second-factor Delete"] = (Need.DistrictAdministrator, AccessTokens.AllOfDistrict),
        ["/api/v1/accounts/{id:long} Delete"] = (Need.DistrictAdministrator, TokenScopes.AccountsWrite),
        ["/api/v1/tokens Post"] = (Need.DistrictAdministrator, TokenScopes.AccountsWrite),
        ["/api/v1/tokens/{id:long} Delete"] = (Need.DistrictAdministrator, TokenScopes.AccountsWrite),
    }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>Refuses to make a token with scopes that open nothing to its group: whoever names one expects something of it. All of them at once
    /// is whatever the group may.</summary>
    /// <exception cref="RollcallException">A scope opens nothing to it.</exception>
    public static void CheckUse(SecurityGroup group, TokenScopes scopes)
    {
        var idle =
            scopes.HasFlag(AccessTokens.AllOfDistrict) || group >= SecurityGroup.DistrictAdministrator
                ? []
                : AccessTokens
                    .Words.Where(w => w.Scope != TokenScopes.Installation && scopes.HasFlag(w.Scope))
                    .Where(w => !s_api.Values.Any(r => r.Scope.HasFlag(w.Scope) && Group(r.Need) <= group))
                    .Select(w => w.Word)
                    .ToList();
        if (idle.Count > 0)
        {
            throw RollcallException.OfValue(
                $"A token of the group {PatronFields.GroupWord(group)} can do nothing with {string.Join(", ", idle)}: that needs the group {PatronFields.GroupWord(SecurityGroup.DistrictAdministrator)}. Give it that group, or leave {(idle.Count == 1 ? "this scope" : "these scopes")} out."
            );
        }
    }

    /// <summary>Every route that is listed.</summary>
    public static IEnumerable<string> Routes => s_routes.Keys.Concat(s_api.Keys);

    /// <summary>The scope that a token needs for a route of the API; null for what is no such route.</summary>
    public static TokenScopes? ScopeOf(string route) => s_api.TryGetValue(route, out var api) ? api.Scope : null;

    /// <summary>What a route needs; null when it is not listed, and so is nobody's.</summary>
    public static Need? Of(string route) =>
        s_routes.TryGetValue(route, out var need) ? need
        : s_api.TryGetValue(route, out var api) ? api.Need
        : s_routes.TryGetValue($"{route.Split(' ')[0]} *", out var any) ? any
        : null;

    /// <summary>The route of a page's handler; without a handler the page is shown as it is.</summary>
    public static string Route(string page, string? handler, string method) =>
        $"{page} {handler ?? (HttpMethods.IsGet(method) || HttpMethods.IsHead(method) ? "Get" : "Post")}";

    /// <summary>The route of an address that is no page.</summary>
    public static string Route(RouteEndpoint endpoint, string method) =>
        $"{endpoint.RoutePattern.RawText} {method.ToUpperInvariant() switch
        {
            "GET" or "HEAD" => "Get",
            "PUT" => "Put",
            "PATCH" => "Patch",
            "DELETE" => "Delete",
            _ => "Post",
        }}";

    /// <summary>Some handler of this page is open to everybody: whoever is not signed in may come as far as that is asked.</summary>
    public static bool IsOpen(PageActionDescriptor page) =>
        s_routes.Any(r => r.Value == Need.Anyone && r.Key.StartsWith($"{page.ViewEnginePath} ", StringComparison.Ordinal));

    /// <summary>The page works in one district. What it shows and does there means something else in another one.</summary>
    public static bool IsOfDistrict(PageActionDescriptor page) =>
        s_routes.Any(r => Group(r.Value) is not null && r.Key.StartsWith($"{page.ViewEnginePath} ", StringComparison.Ordinal));

    /// <summary>The least security group of a need; null for needs that are none of a district.</summary>
    public static SecurityGroup? Group(Need need) =>
        need switch
        {
            Need.PatronLimited => SecurityGroup.PatronLimited,
            Need.StudentAide => SecurityGroup.StudentAide,
            Need.Librarian => SecurityGroup.Librarian,
            Need.LibraryAdministrator => SecurityGroup.LibraryAdministrator,
            Need.DistrictAdministrator => SecurityGroup.DistrictAdministrator,
            _ => null,
        };
}
